// replicate: plans and what is wrong with them, the statistics, the pictures, and the real binary from end to end.

#include <doctest/doctest.h>
#include <signal.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <optional>
#include <sstream>

#include "apps/common/measure/plots.h"
#include "apps/replicate/paired.h"
#include "apps/replicate/results.h"
#include "apps/replicate/tables.h"
#include "tests/apps/plans.h"
#include "tests/common/library_json.h"

using namespace sked;
using namespace sked::test;

namespace {

/// A plan of two settings and two heads, in a file of its own.
LibraryJson example() {
  return library_json(R"({
    "about": {"title": "Two heads", "note": "kept"},
    "base": {"train": {"batch_size": 16, "epochs": 3}, "head": {"rank": 2}},
    "settings": {"clean": {}, "noisy | 40 %": {"data.noise": "symmetric", "data.noise_rate": 0.3}},
    "heads": {"DET": {"head.kind": "det"}, "HET-XL": {"head.kind": "het-xl", "head.rank": 4, "train.epochs": 5}},
    "seeds": [3, 1]})");
}

std::vector<PlannedRun> runs_of_text(const std::string& text, const std::vector<std::string>& overrides = {}) {
  const TemporaryFolder folder;
  return runs_of(read_plan(folder.write("plan.json", text), overrides));
}

/// The message of the UsageError that a plan is refused with.
std::string refusal(const std::string& text, const std::vector<std::string>& overrides = {}) {
  try {
    runs_of_text(text, overrides);
  } catch (const UsageError& error) {
    return error.what();
  }
  return {};
}

/// The same after a change of the example.
template <class Change>
std::string refusal_after(Change&& change) {
  LibraryJson plan = example();
  change(plan);
  return refusal(plan.dump());
}

FinishedRun finished(size_t setting, size_t head, uint64_t seed, double nll, double accuracy = 0.5) {
  FinishedRun run;
  run.plan = {setting, head, seed, {}, "folder"};
  run.summary.head = "det";
  run.summary.seed = seed;
  run.summary.test.measures.nll = nll;
  run.summary.test.measures.accuracy = accuracy;
  return run;
}

Plan two_by_two() {
  Plan plan;
  plan.title = "t";
  plan.settings = {{"a"}, {"b"}};
  plan.heads = {{"DET"}, {"HET|XL"}};
  plan.seeds = {0, 1, 2};
  return plan;
}

const Comparison& comparison_of(const std::vector<Comparison>& all, size_t setting, const std::string& key) {
  for (const Comparison& c : all)
    if (c.setting == setting && c.metric->key == key) return c;
  fail("test", "no comparison of ", key);
}

}  // namespace

TEST_CASE("replicate: runs measured on other images are not compared in silence") {
  const Plan plan = two_by_two();
  FinishedRun first = finished(0, 0, 0, 0.1), second = finished(0, 1, 0, 0.2);
  first.summary.measured_data = second.summary.measured_data = "1";
  first.summary.test.measures.count = 12, second.summary.test.measures.count = 27;
  const auto warning = [&] {
    const std::vector<Cell> cells = cells_of(plan, {first, second});
    return data_warning(plan, cells_of_setting(cells, 0));
  };
  CHECK(warning() == "");
  second.summary.measured_data = "2";
  CHECK(has(warning(), "measured on the same images: DET, seed 0 (12 images) and HET|XL, seed 0 (27 images)"));
  CHECK(has(table_markdown(plan, cells_of(plan, {first, second})), "--fresh trains all of them again"));
  second.summary.measured_data = "";  // of an earlier version
  CHECK(warning() == "");
  first.summary.training_data = "1", second.summary.training_data = "2";
  CHECK(has(warning(), "trained on the same images"));
}

TEST_CASE("plan: a grid, seeds outermost, each run with its own configuration and folder") {
  const TemporaryFolder folder;
  const Plan plan = read_plan(folder.write("plan.json", example().dump()), {"train.batch_size=8"});
  CHECK(plan.title == "Two heads");
  CHECK(library_json(plan.about)["note"] == "kept");
  const std::vector<PlannedRun> runs = runs_of(plan);
  REQUIRE(runs.size() == 8);
  const std::vector<std::string> folders = {
      "clean/DET/seed-3", "clean/HET-XL/seed-3", "noisy---40--/DET/seed-3", "noisy---40--/HET-XL/seed-3",
      "clean/DET/seed-1", "clean/HET-XL/seed-1", "noisy---40--/DET/seed-1", "noisy---40--/HET-XL/seed-1"};
  for (size_t i = 0; i < runs.size(); ++i) {
    CAPTURE(i);
    const PlannedRun& run = runs[i];
    const bool noisy = i / 2 % 2 == 1, xl = i % 2 == 1;
    CHECK(run.folder == folders[i]);
    CHECK(run.setting == (noisy ? 1 : 0));
    CHECK(run.head == (xl ? 1 : 0));
    CHECK(run.seed == (i < 4 ? 3 : 1));
    CHECK(run.config.seed == run.seed);
    CHECK(run.config.train.batch_size == 8);
    CHECK(run.config.data.noise_rate == (noisy ? 0.3 : DataSpec{}.noise_rate));
    CHECK(run.config.data.noise == (noisy ? LabelNoise::symmetric : DataSpec{}.noise));
    CHECK(run.config.head.kind == (xl ? HeadKind::het_xl : HeadKind::det));
    CHECK(run.config.head.noise.rank == (xl ? 4 : 2));
    CHECK(run.config.train.epochs == (xl ? 5 : 3));
  }
}

TEST_CASE("plan: what may be left out") {
  const TemporaryFolder folder;
  const std::string path =
      folder.write("small.json", R"({"base": {"data": {"name": "cifar-10"}}, "heads": {"DET": {"head.kind": "det"}}})");
  const Plan plan = read_plan(path, {});
  CHECK(plan.title == "small");
  CHECK(plan.seeds == std::vector<uint64_t>{0, 1, 2});
  REQUIRE(plan.settings.size() == 1);
  CHECK(plan.settings[0].name == "cifar-10");
  CHECK(runs_of(plan).size() == 3);
  CHECK(runs_of(plan)[0].folder == "cifar-10/DET/seed-0");
}

TEST_CASE("plan: the base may be a file, by its name from the plan's folder on") {
  const TemporaryFolder folder;
  RunConfig base;
  base.train.batch_size = 16;
  base.seed = 7;  // as config.json of a run has one
  folder.write("one run.json", config_text(base));
  std::filesystem::create_directories(folder.path("plans"));
  const auto plan = [&](const char* file) {
    LibraryJson json = example();
    json["base"] = file;
    return folder.write("plans/plan.json", json.dump());
  };
  const auto refused = [&](const char* file) { return error_of([&] { read_plan(plan(file), {}); }); };
  const std::vector<PlannedRun> runs = runs_of(read_plan(plan("../one run.json"), {"train.epochs=2"}));
  REQUIRE(runs.size() == 8);
  CHECK(runs[0].config.train.batch_size == 16);
  CHECK(runs[0].config.train.epochs == 2);
  CHECK(runs[0].config.seed == 3);
  CHECK(runs_of(read_plan(plan(folder.path("one run.json").c_str()), {})).size() == 8);

  CHECK(
      one_line_with(refused("one run.json"), "plan.json: base: ", "plans/one run.json is not there", "plan's folder"));
  CHECK(one_line_with(refused("plan.json"), "plan.json: base: ", "plans/plan.json is a plan itself", "one run"));
  CHECK(one_line_with(refused(".."), "a folder, expected a JSON file"));
  folder.write("bad.json", "{\n  \"data\": ,\n}");
  CHECK(one_line_with(refused("../bad.json"), "bad.json:2:11", "malformed JSON"));
  folder.write("list.json", "[1]");
  CHECK(one_line_with(refused("../list.json"), "list.json", "an object", "[1]"));
  folder.write("typo.json", R"({"train": {"bach_size": 1}})");
  CHECK(one_line_with(refused("../typo.json"), "typo.json", "train.bach_size", "train.batch_size?"));
}

TEST_CASE("plan: the ready one is valid") {
  const std::vector<PlannedRun> runs = runs_of(read_plan("apps/configs/demo.json", {}));
  CHECK(runs.size() == 9);
  CHECK(runs[2].config.head.kind == HeadKind::het_xl);
  CHECK(runs[2].config.data.noise == LabelNoise::instance);
}

TEST_CASE("plan: a name becomes one folder, never a way out of it") {
  CHECK(folder_name("HET-XL r=4") == "HET-XL-r-4");
  CHECK(folder_name("../x") == "-..-x");
  CHECK(folder_name(".") == "-.");
  CHECK(folder_name("/") == "-");
  CHECK(folder_name("").size() == 1);
  CHECK(folder_name("Meine Fötos, 日本") == "Meine-Fötos--日本");
  CHECK(folder_name("\xE9t\xE9") == "-t-");  // not UTF-8
  CHECK(folder_name("a\u00A0b\u2028c\u202Ed") == "a-b-c-d");
}

TEST_CASE("plan: a wrong structure is refused with file and key") {
  REQUIRE(refusal(example().dump()).empty());
  CHECK(one_line_with(refusal_after([](LibraryJson& p) { p["seed"] = {1}; }), "plan.json", "unknown key `seed`",
                      "did you mean \"seeds\"?"));
  CHECK(one_line_with(refusal_after([](LibraryJson& p) { p.erase("heads"); }), "plan.json", "`heads` is missing"));
  CHECK(one_line_with(refusal_after([](LibraryJson& p) { p.erase("base"); }), "plan.json", "`base` is missing"));
  CHECK(one_line_with(refusal_after([](LibraryJson& p) { p["heads"] = {"det"}; }), "plan.json", "`heads`", "object",
                      "det"));
  CHECK(one_line_with(refusal_after([](LibraryJson& p) { p["heads"] = LibraryJson::object(); }), "`heads`", "non-empty",
                      "{}"));
  CHECK(one_line_with(refusal_after([](LibraryJson& p) { p["heads"] = nullptr; }), "`heads`", "null"));
  CHECK(one_line_with(refusal_after([](LibraryJson& p) { p["settings"] = LibraryJson::object(); }), "`settings`",
                      "non-empty"));
  CHECK(one_line_with(refusal_after([](LibraryJson& p) { p["heads"]["DET"] = "det"; }), "plan.json", "`heads.DET`",
                      "object", "\"det\""));
  CHECK(one_line_with(refusal_after([](LibraryJson& p) { p["base"] = 3; }), "plan.json", "base", "an object", "3"));
  CHECK(one_line_with(refusal_after([](LibraryJson& p) { p["about"] = "words"; }), "plan.json", "`about`", "words"));
  CHECK(one_line_with(refusal("[1]"), "plan.json", "an object", "[1]"));
}

TEST_CASE("plan: two names that share a folder are refused") {
  const auto with = [](const std::string& key, const std::string& a, const std::string& b) {
    return refusal_after([&](LibraryJson& p) { p[key] = {{a, LibraryJson::object()}, {b, LibraryJson::object()}}; });
  };
  CHECK(one_line_with(with("heads", "r 4", "r=4"), "plan.json", "`heads.r=4`", "the folder r-4"));
  CHECK(one_line_with(with("settings", "a/b", "a=b"), "plan.json", "`settings.a=b`", "the folder a-b"));
  CHECK(with("heads", "r4", "R4").empty());
}

TEST_CASE("plan: a wrong value is refused with file, entry and key") {
  const auto in_head = [](const char* key, const LibraryJson& value) {
    return refusal_after([&](LibraryJson& p) { p["heads"]["DET"] = {{key, value}}; });
  };
  const auto in_setting = [](const char* key, const LibraryJson& value) {
    return refusal_after([&](LibraryJson& p) { p["settings"]["clean"] = {{key, value}}; });
  };
  CHECK(one_line_with(in_head("head.knd", "det"), "plan.json", "heads.DET", "unknown key head.knd", "head.kind?"));
  CHECK(one_line_with(in_setting("data.noise_rat", 0.1), "plan.json", "settings.clean", "data.noise_rate?"));
  CHECK(one_line_with(in_head("head.rank", "four"), "plan.json", "heads.DET", "head.rank", "an integer", "\"four\""));
  CHECK(one_line_with(in_head("head.rank", "4"), "head.rank", "an integer", "\"4\""));  // text is not a number
  CHECK(one_line_with(in_head("head.learn_temperature", "true"), "true or false", "\"true\""));
  CHECK(
      one_line_with(in_setting("data.noise", 3), "plan.json", "settings.clean", "data.noise", "symmetric, pair", "3"));
  CHECK(one_line_with(in_head("train.batch_size", 0), "plan.json", "heads.DET", "train.batch_size", "at least 1"));
  CHECK(one_line_with(in_head("seed", 5), "plan.json", "seed", "`seeds`", "5"));
  CHECK(one_line_with(refusal_after([](LibraryJson& p) { p["base"]["train"]["bach_size"] = 1; }), "plan.json", "base",
                      "train.bach_size", "train.batch_size?"));
  CHECK(one_line_with(refusal(example().dump(), {"train.epoch=1"}), "--set train.epoch=1", "train.epochs?"));
}

TEST_CASE("plan: wrong seeds are refused with what was there") {
  const auto seeds = [](const char* text) {
    return refusal_after([&](LibraryJson& p) { p["seeds"] = library_json(text); });
  };
  for (const char* text : {"[0,1,0]", "[-1]", "[1.5]", "[\"1\"]", "[]", "3", "{\"a\":1}", "null"}) {
    CAPTURE(text);
    CHECK(one_line_with(seeds(text), "plan.json", "`seeds`", text));
  }
  CHECK(seeds("[18446744073709551615]").empty());
}

TEST_CASE("plan: malformed JSON is refused with line and column") {
  CHECK(one_line_with(refusal("{\n  \"base\": ,\n}"), "plan.json:2:11", "malformed JSON"));
  CHECK(one_line_with(refusal(""), "plan.json:1:1", "malformed JSON"));
  CHECK(one_line_with(refusal(R"({"base": {}, "base": {}})"), "plan.json", "base", "twice"));
  CHECK(one_line_with(refusal(std::string(100000, '[')), "levels of nesting"));
  CHECK(one_line_with(error_of([] { read_plan("/nowhere/plan.json", {}); }), "/nowhere/plan.json"));
}

TEST_CASE("estimate: mean and standard error by hand") {
  CHECK(estimate({}).count == 0);
  const Estimate one = estimate({0.25});
  CHECK(one.mean == 0.25);
  CHECK(one.standard_error == 0);
  CHECK(one.text(2) == "0.25");
  // 1, 2, 6: mean 3, squares 4 + 1 + 9 = 14, s² = 7, s/√3 = √(7/3)
  const Estimate three = estimate({1, 2, 6});
  CHECK(three.mean == doctest::Approx(3).epsilon(1e-15));  // rounding of double
  CHECK(three.standard_error == doctest::Approx(1.5275252316519468).epsilon(1e-15));
  CHECK(three.count == 3);
  CHECK(three.text(3) == "3.000 ± 1.528");
  CHECK(three.text(1, 100) == "300.0 ± 152.8");
  CHECK(estimate({-1, -1}).text(1) == "-1.0 ± 0.0");
  CHECK(estimate({40, 40}).text(0) == "40");  // a count that does not vary
  CHECK(estimate({40, 42}).text(0) == "41 ± 1");
}

TEST_CASE("estimate: the 95 % interval is Student's") {
  // scipy.stats.t.ppf(0.975, n - 1)
  for (const auto& [n, t] : {std::pair(2, 12.706204736),
                             {3, 4.3026527297},
                             {4, 3.1824463053},
                             {5, 2.7764451052},
                             {10, 2.2621571628},
                             {11, 2.2281388520},
                             {1001, 1.9623390808}})
    CHECK(Estimate{1, 0.5, n}.half_width() == doctest::Approx(t / 2).epsilon(1e-9));
  CHECK(std::isinf(Estimate{1, 0, 1}.half_width()));
  CHECK(Estimate{1, 0, 3}.half_width() == 0);
}

TEST_CASE("paired: differences of heads, and the step from which they stay") {
  Plan plan = two_by_two();
  plan.heads.push_back({"third"});
  std::vector<FinishedRun> runs;
  for (uint64_t seed : {0u, 1u, 2u})
    for (size_t head : {0u, 1u, 2u}) {
      if (head == 2 && seed > 0) continue;  // one seed: no pair
      FinishedRun run =
          finished(0, head, seed, 0.5 + 0.1 * static_cast<double>(head) + 0.2 * static_cast<double>(seed), 0.7);
      run.summary.weights = "best";
      run.summary.best_nll = run.summary.test.measures.nll + 1;
      // Below, above, of no sign, above, above (at a step that only one head has) and above; seeds far apart.
      const double differences[] = {-0.1, 0.1, 0.01 * (static_cast<double>(seed) - 1), 0.1, 0.1, 0.1};
      for (int64_t i = 0; i < 6; ++i) {
        if (i == 4 && head == 0) continue;
        const double jitter = 1e-3 * static_cast<double>(seed * head);
        const double nll = static_cast<double>(seed) + (head == 1 ? differences[i] + jitter : 0);
        run.evaluations.push_back({10 * (i + 1), 0.5 * static_cast<double>(i + 1), nll, NAN});
      }
      runs.push_back(run);
    }
  const std::vector<Cell> cells = cells_of(plan, runs);
  const std::vector<PairedHeads> pairs = paired_heads(plan, cells);
  REQUIRE(pairs.size() == 1);
  CHECK(pairs[0].head == 1);
  CHECK(pairs[0].than == 0);
  REQUIRE(pairs[0].differences.size() == 4);
  CHECK(pairs[0].differences[0].first->key == "held_out_nll");
  CHECK(pairs[0].differences[1].second.mean == doctest::Approx(0.1).epsilon(1e-14));
  REQUIRE(pairs[0].onset.has_value());
  CHECK(pairs[0].onset->step == 40);
  CHECK(pairs[0].onset->epoch == 2);
  const std::string text = table_markdown(plan, cells);
  CHECK(has(text, "| held-out NLL |"));
  CHECK(has(text, "| HET\\|XL - DET | +0.1000 (+0.1000, +0.1000) |"));
  CHECK(has(text, "| 40 (epoch 2) |"));
  const LibraryJson json = library_json(results_json(plan, cells))["paired"];
  REQUIRE(json.size() == 1);
  CHECK(json[0]["than"] == "DET");
  CHECK(json[0]["nll"]["interval"].size() == 2);
  CHECK(json[0]["nll_differs_from_step"] == 40);

  for (FinishedRun& run : runs) run.evaluations.back().nll = static_cast<double>(run.plan.seed);  // none at the end
  CHECK_FALSE(paired_heads(plan, cells_of(plan, runs))[0].onset);
  CHECK(library_json(results_json(plan, cells_of(plan, runs)))["paired"][0]["nll_differs_from_step"].is_null());
}

TEST_CASE("curve: evaluations are read, other lines and the final test are not") {
  const auto read = periodic_evaluations(std::string_view(
      "{\"step\": 5, \"epoch\": 0.5, \"split\": \"train\", \"loss\": 1}\n{\"step\": 10, \"epoch\": 1, \"nll\": 0.5}\n"
      "{\"step\": 20, \"epoch\": 2, \"nll\": null, \"accuracy\": 0.25}\nbroken\n"
      "{\"step\": 20, \"epoch\": 2, \"nll\": 0.4, \"final\": true}\n"));
  REQUIRE(read.size() == 2);
  CHECK(read[0].step == 10);
  CHECK(read[0].nll == 0.5);
  CHECK(std::isnan(read[0].accuracy));
  CHECK(std::isnan(read[1].nll));
  CHECK(read[1].accuracy == 0.25);
}

TEST_CASE("comparisons: the best mean wins, differences are paired by seed") {
  const Plan plan = two_by_two();
  // Given out of order, and seed 1 of the second head is missing.
  const std::vector<Cell> cells =
      cells_of(plan, {finished(0, 0, 2, 0.9, 0.7), finished(0, 1, 0, 0.1, 0.6), finished(0, 0, 0, 0.5, 0.7),
                      finished(0, 1, 2, 0.4, 0.6), finished(0, 0, 1, 9.0, 0.7), finished(1, 0, 0, 0.5)});
  REQUIRE(cells.size() == 3);
  CHECK(cells[0].runs[0].plan.seed == 0);
  CHECK(cells[0].runs[2].plan.seed == 2);
  const std::vector<Comparison> all = comparisons(plan, cells);
  const Comparison& nll = comparison_of(all, 0, "nll");
  CHECK(nll.best == 1);
  REQUIRE(nll.others.size() == 1);
  CHECK(nll.others[0].head == 0);
  CHECK(nll.others[0].difference.count == 2);  // seeds 0 and 2
  CHECK(nll.others[0].difference.mean == doctest::Approx(0.45).epsilon(1e-14));
  CHECK(nll.others[0].difference.standard_error == doctest::Approx(0.05).epsilon(1e-13));
  CHECK(nll.others[0].clear());
  const Comparison& accuracy = comparison_of(all, 0, "accuracy");
  CHECK(accuracy.best == 0);  // higher is better
  CHECK(accuracy.others[0].difference.mean == doctest::Approx(-0.1).epsilon(1e-14));
  CHECK(std::none_of(all.begin(), all.end(), [](const Comparison& c) { return c.setting == 1; }));  // one head only
  CHECK(std::none_of(all.begin(), all.end(), [](const Comparison& c) { return c.metric->has != nullptr; }));
  const std::string said = sentence(plan, cells, nll);
  CHECK(one_line_with(said, "a: HET|XL has the lowest NLL, 0.2500 ± 0.1500; DET +0.4500 ± 0.0500"));
  CHECK_FALSE(has(said, "within noise"));
  CHECK(one_line_with(sentence(plan, cells, accuracy), "DET has the highest accuracy %, 70.00", "HET|XL -10.00"));
}

TEST_CASE("comparisons: beyond two standard errors, and never from one seed") {
  const auto clear = [](double mean, double error, int64_t count) {
    return Comparison::Other{0, {mean, error, count}}.clear();
  };
  CHECK(clear(0.3, 0.1, 3));
  CHECK(clear(-0.3, 0.1, 3));
  CHECK_FALSE(clear(0.2, 0.1, 3));
  CHECK_FALSE(clear(0.3, 0, 1));
  CHECK(clear(0.3, 0, 2));
  CHECK_FALSE(clear(0, 0, 2));
  const Plan plan = two_by_two();
  const std::vector<Cell> cells = cells_of(plan, {finished(0, 0, 0, 0.9), finished(0, 1, 0, 0.1)});
  CHECK(has(sentence(plan, cells, comparisons(plan, cells)[0]), "(one seed: may be noise)"));
  const std::vector<Cell> two =
      cells_of(plan, {finished(0, 0, 0, 0.9), finished(0, 1, 0, 0.1), finished(0, 0, 2, 0.1), finished(0, 1, 2, 0.2)});
  CHECK(has(sentence(plan, two, comparisons(plan, two)[0]), "(within noise)"));
}

TEST_CASE("table: what only some heads predict has a column, with a dash for the others") {
  const Plan plan = two_by_two();
  FinishedRun det = finished(0, 0, 0, 0.25), xl = finished(0, 1, 0, 0.2);
  for (FinishedRun* run : {&det, &xl}) {
    run->summary.test.distribution = "human";
    run->summary.test.measures.selective.count = 1;
    run->summary.test.measures.adaptive_ece = 0.125;
    run->summary.test.against.entropy_correlation = 0.5;
  }
  xl.summary.test.against.noise_correlation = 0.75;
  const std::string text = table_markdown(plan, cells_of(plan, {det, xl}));
  CHECK(has(text, "adaptive ECE"));
  CHECK(has(text, "AURC"));
  CHECK(has(text, "| 0.500 | - |"));
  CHECK(has(text, "| 0.500 | 0.750 |"));
  const std::string old = table_markdown(plan, cells_of(plan, {finished(0, 0, 0, 0.25), xl}));  // of an earlier version
  CHECK_FALSE(has(old, "AURC"));
  CHECK(has(old, "| - |"));
}

TEST_CASE("table: few-shot columns where every run has them; memory and time of a step in results.json alone") {
  const Plan plan = two_by_two();
  FinishedRun det = finished(0, 0, 0, 0.25), xl = finished(0, 1, 0, 0.2);
  det.summary.few_shot = {{"a", 10, {{1, 1, 0.25}, {5, 1, 0.5}}}, {"b", 10, {{1, 1, 0.75}, {5, 1, 0.5}}}};
  xl.summary.few_shot = {{"a", 10, {{1, 1, 0.5}, {5, 1, 0.5}}}, {"b", 10, {{1, 1, 0.625}}}};
  det.summary.steps = 50, det.summary.train_seconds = 0.1, det.summary.peak_memory_bytes = 2500000;
  const std::vector<Cell> cells = cells_of(plan, {det, xl});
  const std::string text = table_markdown(plan, cells);
  CHECK(has(text, " accuracy % | ECE | Brier | 1-shot % | τ |"));
  CHECK(has(text, "| 50.00 | 1.000 |"));
  CHECK(has(text, "| 56.25 | 1.000 |"));
  CHECK_FALSE(has(text, "5-shot"));  // not of both
  CHECK_FALSE(has(text, "memory"));
  CHECK(comparison_of(comparisons(plan, cells), 0, "few_shot_1").best == 1);
  const LibraryJson json = library_json(results_json(plan, cells));
  const LibraryJson &first = json["cells"][0], &second = json["cells"][1];
  CHECK(first["few_shot_1"]["mean"] == 0.5);
  CHECK(first["few_shot_5"]["mean"] == 0.5);
  CHECK_FALSE(second.contains("few_shot_5"));
  CHECK(first["step_ms"]["mean"] == 2.0);
  CHECK(first["peak_memory"]["mean"] == 2.5);
  CHECK_FALSE(second.contains("step_ms"));  // of an earlier version
}

TEST_CASE("table: one per setting, every row as wide as its header") {
  const Plan plan = two_by_two();
  FinishedRun human = finished(1, 1, 0, 0.2);
  human.summary.test.distribution = "human";
  FinishedRun both = finished(0, 0, 0, 0.25, 0.75);
  both.summary.test.distribution = "noisy";
  both.summary.test.against.cross_entropy = 1.5;
  const std::vector<Cell> cells = cells_of(plan, {both, finished(1, 0, 0, 0.3), finished(1, 0, 1, 0.5), human});
  const std::string text = table_markdown(plan, cells);
  CHECK(text.starts_with("**a**\n\n| head | seeds | NLL |"));
  CHECK(has(text, "\n\n**b**\n\n| head |"));
  CHECK(has(text, "| DET | 1 | 0.2500 | 75.00 |"));
  CHECK(has(text, "| DET | 2 | 0.4000 ± 0.1000 |"));
  CHECK(has(text, "| HET\\|XL | 1 | 0.2000 |"));
  CHECK(occurrences(text, "cross-entropy vs p(y\\|x)") == 1);  // in `a` alone
  CHECK(has(text, "1.5000"));
  std::istringstream lines(text);
  size_t width = 0, rows = 0;
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with("|")) {
      width = 0;
      continue;
    }
    const size_t bars = occurrences(line, "|") - occurrences(line, "\\|");
    if (width == 0) width = bars;
    CHECK_MESSAGE(bars == width, line);
    ++rows;
  }
  CHECK(rows == 3 + 4);
}

TEST_CASE("results.json: reads back, with estimates, runs and comparisons") {
  Plan plan = two_by_two();
  plan.title = "title \"quoted\"\n\xff";  // from a file name: any bytes
  plan.about = R"({"note": "kept"})";
  const std::vector<Cell> cells =
      cells_of(plan, {finished(0, 0, 0, 1), finished(0, 0, 1, 3), finished(0, 1, 0, 2.5), finished(0, 1, 1, 2.5)});
  const LibraryJson json = library_json(results_json(plan, cells));
  CHECK(json["about"]["note"] == "kept");
  REQUIRE(json["cells"].size() == 2);
  CHECK(json["cells"][0]["setting"] == "a");
  CHECK(json["cells"][0]["head"] == "DET");
  CHECK(json["cells"][0]["nll"] == LibraryJson{{"mean", 2.0}, {"standard_error", 1.0}, {"count", 2}});
  CHECK(json["cells"][0]["runs"][1]["seed"] == 1);
  CHECK(json["cells"][0]["runs"][1]["folder"] == "folder");
  CHECK(json["cells"][0]["runs"][1]["summary"]["test"]["nll"] == 3.0);
  CHECK_FALSE(json["cells"][0].contains("cross_entropy"));
  const LibraryJson& first = json["comparisons"][0];
  CHECK(first["metric"] == "nll");
  CHECK(first["best"] == "DET");
  CHECK(first["others"][0]["head"] == "HET|XL");
  CHECK(first["others"][0]["difference"]["mean"] == 0.5);
  CHECK(first["others"][0]["beyond_two_standard_errors"] == false);
  CHECK(library_json(results_json(plan, {}))["cells"].empty());
}

TEST_CASE("replicate: a whole plan, its files, and again without training") {
  const Workplace place;
  const Outcome first = run_program(place.command("out"));
  REQUIRE_MESSAGE(first.code == 0, first.err);
  const std::string results = slurp(place.folder.path("out/results.json"));
  const LibraryJson json = library_json(results);
  CHECK(json["title"] == "plan");
  REQUIRE(json["cells"].size() == 2);
  for (const LibraryJson& cell : json["cells"]) {
    CHECK(cell["runs"].size() == 2);
    const double a = cell["runs"][0]["summary"]["test"]["nll"], b = cell["runs"][1]["summary"]["test"]["nll"];
    CHECK(cell["nll"]["mean"].get<double>() == doctest::Approx((a + b) / 2).epsilon(1e-14));  // rounding of double
    CHECK(cell["nll"]["standard_error"].get<double>() == doctest::Approx(std::abs(a - b) / 2).epsilon(1e-12));
  }
  CHECK(json["cells"][1]["runs"][0]["summary"]["head"] == "het-xl");
  CHECK(has(first.out, "[4/4]"));
  const std::string table = slurp(place.folder.path("out/table.md"));
  CHECK(has(table, "| HET \\<XL> | 2 |"));
  CHECK(has(first.out, table));

  const std::string report = slurp(place.folder.path("out/report.html"));
  CHECK(report.starts_with("<!doctype html>"));
  CHECK(report.ends_with("</body></html>\n"));
  CHECK(has(report, "HET &lt;XL&gt;"));
  CHECK_FALSE(has(report, "<XL>"));
  CHECK(occurrences(report, "src=\"data:image/") == 24 + 3 * 10);  // of the head with noise alone
  CHECK(occurrences(report, "src=") == 24 + 3 * 10);
  CHECK(occurrences(report, "http") == occurrences(report, "xmlns=\"http") + occurrences(report, "xmlns:xlink=\"http"));
  CHECK_FALSE(has(report, "<script"));
  if (why_no_plots().empty())
    CHECK(occurrences(report, "GNUPLOT") == 6);  // NLL, accuracy and ECE by head; two curves; reliability
  else
    CHECK(has(report, "gnuplot was not found"));

  const std::string before = slurp(place.folder.path("out/fashion-mnist/DET/seed-0/metrics.jsonl"));
  CHECK(run_program(place.command("out")).code == 0);
  CHECK(slurp(place.folder.path("out/results.json")) == results);
  CHECK(slurp(place.folder.path("out/report.html")) == report);
  CHECK(slurp(place.folder.path("out/fashion-mnist/DET/seed-0/metrics.jsonl")) == before);

  // The folder of another configuration is refused and left as it is, unless told otherwise.
  const std::vector<std::string> other = place.command("out", {"--set", "schedule.peak=0.01"});
  CHECK(fails_with(run_program(other), 2, "DET/seed-0", "schedule.peak differs", "--fresh"));
  CHECK(slurp(place.folder.path("out/results.json")) == results);
  std::vector<std::string> fresh = other;
  fresh.push_back("--fresh");
  CHECK(run_program(fresh).code == 0);
  CHECK(place.results("out")["cells"][0]["nll"] != json["cells"][0]["nll"]);
}

TEST_CASE("replicate: killed or stopped in the middle, it ends with the numbers of a whole plan") {
  Workplace place;
  RunConfig base = tiny_config(place.folder.path("data"));
  base.model.base_width = 16;
  base.train.epochs = 6;
  base.train.checkpoint_every = 7;  // not a divisor of the 10 steps of an epoch
  place.write_plan(base);
  REQUIRE(run_program(place.command("whole")).code == 0);
  for (int signal : {SIGKILL, SIGINT}) {
    CAPTURE(signal);
    const std::string second = place.folder.path("stopped/fashion-mnist/HET--XL-/seed-0/metrics.jsonl");
    const auto ready = [&] { return count_lines(second) > 8; };
    const Outcome outcome =
        until_stopped(place.folder.path("stopped"), "fashion-mnist/HET--XL-/seed-0/summary.json",
                      [&] { return run_program(place.command("stopped"), {.signal = signal, .when = ready}); });
    REQUIRE(outcome.code == 128 + signal);
    CHECK(outcome.err.empty());
    CHECK(place.results("stopped")["cells"].size() == 1);  // the results so far
    CHECK_FALSE(place.exists("stopped/report.html"));
    const Outcome resumed = run_program(place.command("stopped"));
    REQUIRE_MESSAGE(resumed.code == 0, resumed.err);
    CHECK(has(resumed.out, "goes on from step"));
    CHECK(without_timings(place.results("stopped")) == without_timings(place.results("whole")));
    CHECK(place.exists("stopped/report.html"));
  }
}

TEST_CASE("replicate: --seed runs that seed only") {
  const Workplace place;
  REQUIRE(run_program(place.command("out", {"--seed", "1", "--set", "train.steps=2"})).code == 0);
  CHECK(place.exists("out/fashion-mnist/DET/seed-1"));
  CHECK_FALSE(place.exists("out/fashion-mnist/DET/seed-0"));
  const LibraryJson results = place.results("out");
  CHECK(results["cells"][0]["runs"].size() == 1);
  CHECK(results["cells"][0]["runs"][0]["summary"]["steps"] == 2);
}

TEST_CASE("replicate: without gnuplot it says so, and the rest of the report is there") {
  const Workplace place;
  const Environment environment("PATH", place.folder.path());
  const Outcome outcome = run_program(place.command("out", {"--seed", "0", "--set", "train.steps=2"}));
  CHECK(outcome.code == 0);
  CHECK(outcome.err == "note: gnuplot was not found: report.html has no plots\n");
  const std::string report = slurp(place.folder.path("out/report.html"));
  CHECK(has(report, "gnuplot was not found"));
  CHECK_FALSE(has(report, "GNUPLOT"));
  CHECK(has(report, "<table>"));
}

TEST_CASE("replicate: what cannot be run is refused with one line before anything is written") {
  Workplace place;
  const Outcome help = run_program({"replicate", "--help"});
  CHECK(help.code == 0);
  CHECK(help.err.empty());
  for (const char* word : {"--config", "--set", "--seed", "--out", "--fresh", "Example:"})
    CHECK_MESSAGE(has(help.out, word), word);
  CHECK(fails_with(run_program({"replicate"}), 2, "--config"));
  CHECK(fails_with(run_program({"replicate", "--config", place.folder.path("none.json")}), 1, "none.json"));
  CHECK(fails_with(run_program(place.command("out", {"--set", "train.epoch=1"})), 2, "train.epochs?"));
  CHECK(fails_with(run_program(place.command("out", {"--set", "data.name=mnist"})), 2, "mnist", "fashion-mnist"));
  CHECK(fails_with(run_program(place.command("out", {"--set", "model.name=resnet21"})), 2, "resnet21", "resnet20"));
  CHECK(fails_with(run_program(place.command("out", {"--data-root", place.folder.path("no")})), 1, "make data"));
  CHECK(
      fails_with(run_program(place.command("out", {"--set", "schedule.cooldown_steps=100000"})), 2, "cooldown_steps"));
  CHECK(fails_with(run_program(place.command("out", {"--set", "few_shot.data=[\"mnist\"]"})), 2, "mnist"));
  place.write_plan(tiny_config(place.folder.path("data")), "hetxl");  // of the last head
  CHECK(fails_with(run_program(place.command("out")), 2, "hetxl", "het-xl"));
  CHECK_FALSE(place.exists("out"));
}

TEST_CASE("replicate: folders that cannot be written") {
  const Workplace place;
  std::vector<std::string> command = place.command("out", {"--set", "train.steps=1"});
  command[4] = "/proc/skedastic";
  CHECK(fails_with(run_program(command), 1, "/proc/skedastic", "cannot create"));
  place.folder.write("file", "a file where a folder should be");
  CHECK(fails_with(run_program(place.command("file")), 1, "file"));
  std::filesystem::create_directories(place.folder.path("taken/results.json/x"));
  CHECK(fails_with(run_program(place.command("taken", {"--set", "train.steps=1"})), 1, "results.json"));
}
