// replicate: what a plan tunes, on held-out images and for every head alike; its full size; calibrated runs.

#include <doctest/doctest.h>
#include <signal.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <future>

#include "apps/replicate/results.h"
#include "apps/replicate/tuning.h"
#include "core/file.h"
#include "tests/apps/plans.h"
#include "tests/common/library_json.h"

using namespace sked;
using namespace sked::test;

namespace {

LibraryJson example() {
  return library_json(R"({
    "base": {"data": {"validation": 0.2}, "head": {"rank": 2}},
    "settings": {"a": {}, "b": {"optimizer.weight_decay": 0.5}},
    "heads": {"DET": {"head.kind": "det"}, "HET": {"head": {"kind": "het"}, "schedule": {"peak": 0.3}}},
    "seeds": [0, 1],
    "tuning": {"schedule.peak": [0.1, 0.2], "optimizer.weight_decay": [0, 0.01, 0.1]}, "tuning_seeds": [8, 9]})");
}

Plan plan_of(const LibraryJson& json, const std::vector<std::string>& overrides = {}, bool full = false) {
  const TemporaryFolder folder;
  return read_plan(folder.write("plan.json", json.dump()), overrides, full);
}

template <class Change>
std::string refusal_after(Change&& change, bool full = false) {
  LibraryJson plan = example();
  change(plan);
  try {
    tuning_runs_of(plan_of(plan, {}, full));
  } catch (const UsageError& error) {
    return error.what();
  }
  return {};
}

FinishedRun tried(const PlannedRun& run, double held_out_nll) {
  FinishedRun finished{.plan = run, .summary = {}};
  finished.summary.best_nll = held_out_nll;
  finished.summary.train_seconds = 2;
  return finished;
}

/// A plan on a tiny data set that tunes the learning rate: one value is hopeless, one too large for any number.
struct TunedPlace : Workplace {
  TunedPlace() {
    RunConfig base = tiny_config(folder.path("data"));
    base.train.steps = 12;
    base.train.eval_every = 1;
    json = {{"base", library_json(config_text(base))},
            {"heads", {{"DET", {{"head.kind", "det"}}}, {"HET", {{"head.kind", "het"}, {"schedule.peak", 0.05}}}}},
            {"seeds", {0, 1}},
            {"tuning", {{"schedule.peak", {1e-9, 0.05}}}},
            {"tuning_seeds", {1000, 1001}}};
    write();
  }
  void without_tuning() {
    json.erase("tuning");
    json.erase("tuning_seeds");
  }
  void write() const { folder.write("plan.json", json.dump()); }
  LibraryJson json;
};

}  // namespace

TEST_CASE("tuning: the same grid for every setting and head, but for keys that they set themselves") {
  const Plan plan = plan_of(example());
  const std::vector<PlannedRun> runs = tuning_runs_of(plan);
  const auto count = [&](size_t s, size_t h) {
    return std::ranges::count_if(runs, [&](const PlannedRun& r) { return r.setting == s && r.head == h; });
  };
  CHECK(count(0, 0) == 2 * 6);
  CHECK(count(0, 1) == 2 * 3);  // HET keeps its learning rate
  CHECK(count(1, 0) == 2 * 2);  // b keeps its weight decay
  CHECK(count(1, 1) == 0);
  CHECK(runs[2].folder == "a/DET/tuning/schedule.peak-0.1--optimizer.weight-decay-0.01/seed-8");
  CHECK(runs[2].config.schedule.peak == 0.1);
  CHECK(runs[2].config.optimizer.weight_decay == 0.01);
  CHECK(runs[2].what() == "tuning schedule.peak 0.1, optimizer.weight_decay 0.01, seed 8");
  CHECK(runs[3].folder == "a/DET/tuning/schedule.peak-0.1--optimizer.weight-decay-0.01/seed-9");
  CHECK(runs[3].config.optimizer.weight_decay == 0.01);
  CHECK(runs[3].config.seed == 9);
  CHECK(runs.back().config.optimizer.weight_decay == 0.5);
  // --set takes a key from the grid.
  const Plan set = plan_of(example(), {"schedule.peak=0.7"});
  CHECK(tuning_runs_of(set).size() == 2 * 2 * 3);
  CHECK(tuning_runs_of(set)[0].config.schedule.peak == 0.7);
  LibraryJson one = example();
  one.erase("tuning_seeds");
  CHECK(tuning_runs_of(plan_of(one))[1].folder.ends_with("optimizer.weight-decay-0.01/seed-1000"));
}

TEST_CASE("tuning: the lowest mean held-out NLL is chosen, of equal ones the first, of what diverged none") {
  LibraryJson json = example();
  json.erase("settings");
  json["tuning"] = {{"optimizer.weight_decay", {0, 0.01, 0.1}}};
  const Plan plan = plan_of(json);
  const std::vector<PlannedRun> runs = tuning_runs_of(plan);
  REQUIRE(runs.size() == 12);
  const double infinite = std::numeric_limits<double>::infinity();
  // The first has the lowest of all, and diverges with the other seed.
  std::vector<FinishedRun> tuned = {tried(runs[0], 0.25), tried(runs[1], infinite), tried(runs[2], 0.75),
                                    tried(runs[3], 0.5),  tried(runs[4], 0.5),      tried(runs[5], 0.75)};
  const std::vector<PlannedRun> half = tuned_runs_of(plan, runs, tuned);
  REQUIRE(half.size() == 4);
  for (const PlannedRun& run : half) {
    CHECK(run.undecided == (run.head == 1));
    if (run.head == 0) CHECK(run.config.optimizer.weight_decay == 0.01);
    CHECK(run.config.seed == run.seed);
  }
  // Neither the best of a point's seeds nor the worst, the first or the last decides: only their mean.
  const auto chosen_of = [&](double a, double b, double c, double d) {
    const auto trials = trials_of({tried(runs[2], a), tried(runs[3], b), tried(runs[4], c), tried(runs[5], d)}, 0, 0);
    return trials.at(0).chosen ? 0 : 1;
  };
  CHECK(chosen_of(0.5, 0.875, 0.75, 0.75) == 0);
  CHECK(chosen_of(0.875, 0.5, 0.75, 0.75) == 0);
  CHECK(chosen_of(0.5, 1, 0.625, 0.625) == 1);
  CHECK(chosen_of(1, 0.5, 0.625, 0.625) == 1);
  const auto undecided = [&] {
    return std::ranges::count(tuned_runs_of(plan, runs, tuned), true, &PlannedRun::undecided);
  };
  for (size_t i = 6; i < 11; ++i) tuned.push_back(tried(runs[i], infinite));
  CHECK(undecided() == 2);  // a seed of HET's last point is missing
  tuned.push_back(tried(runs[11], infinite));
  CHECK_THROWS_WITH_AS(tuned_runs_of(plan, runs, tuned), doctest::Contains("HET: no point of the grid"), Error);

  Cell cell{.setting = 0, .head = 0, .runs = {tried(half[0], 1)}};
  cell.tuning = trials_of(tuned, 0, 0);
  CHECK(tuning_sentence(plan, {&cell}) ==
        "Chosen by the NLL of held-out images, of each point the mean over the seeds 8, 9: DET: optimizer.weight_decay "
        "0.01 (3 tried, 12s).");
  const LibraryJson list = library_json(tuning_json(cell.tuning).dump());
  CHECK(list[0]["held_out_nll"] == LibraryJson{0.25, nullptr});
  CHECK(list[0]["chosen"] == false);
  CHECK(list[1] == LibraryJson{{"values", {{"optimizer.weight_decay", 0.01}}},
                               {"held_out_nll", {0.75, 0.5}},
                               {"train_seconds", 4.0},
                               {"chosen", true}});
  CHECK(list[2]["chosen"] == false);
}

TEST_CASE("tuning: what cannot be tried is refused with the entry and what was there") {
  REQUIRE(refusal_after([](LibraryJson&) {}).empty());
  const auto tuning = [](const LibraryJson& value) {
    return refusal_after([&](LibraryJson& p) { p["tuning"] = value; });
  };
  CHECK(one_line_with(tuning(LibraryJson::object()), "plan.json", "`tuning` expected", "{}"));
  CHECK(one_line_with(tuning({{"schedule.peak", LibraryJson::array()}}), "`tuning.schedule.peak`", "[]"));
  CHECK(one_line_with(tuning({{"schedule.peak", 0.1}}), "`tuning.schedule.peak`", "expected a list", "0.1"));
  CHECK(one_line_with(tuning({{"schedule.peak", {0.1, 0.1}}}), "different values", "[0.1,0.1]"));
  CHECK(one_line_with(tuning({{"train.freeze", {{"a"}, {"b"}}}}), "`tuning.train.freeze`"));
  CHECK(one_line_with(tuning({{"schedule.peek", {0.1, 0.2}}}), "plan.json: tuning", "schedule.peek", "schedule.peak?"));
  CHECK(one_line_with(tuning({{"schedule.peak", {0.1, -1}}}), "heads.DET", "tuning schedule.peak -1", "schedule.peak"));
  CHECK(one_line_with(tuning({{"schedule.peak", {0.1, "x"}}}), "tuning", "schedule.peak", "x"));
  CHECK(one_line_with(tuning({{"seed", {1, 2}}}), "seed"));
  for (const char* key : {"data.noise_rate", "data.validation", "train.eval_samples", "train.eval_every"})
    CHECK(one_line_with(tuning({{key, {1, 2}}}), "`tuning.", key, "held out"));
  CHECK(tuning({{"data.train_subset", {0, 10}}}).empty());
  LibraryJson many = LibraryJson::array();
  for (int i = 1; i <= 13; ++i) many.push_back(i);
  CHECK(one_line_with(tuning({{"head.rank", many}, {"train.epochs", {1, 2, 3, 4, 5}}}), "at most 64 points", "has 65"));
  const auto with = [](const char* key, const LibraryJson& value, bool full = false) {
    return refusal_after([&](LibraryJson& p) { p[key] = value; }, full);
  };
  CHECK(one_line_with(with("tuning_seeds", {7, 1}), "`tuning_seeds`", "none of the seeds", "got 1"));
  CHECK(one_line_with(with("tuning_seeds", 7), "`tuning_seeds`", "a list of different integers", "got 7"));
  CHECK(one_line_with(with("tuning_seeds", {7, 7}), "`tuning_seeds`", "different", "[7,7]"));
  CHECK(one_line_with(with("tuning_seeds", LibraryJson::array()), "`tuning_seeds`", "[]"));
  CHECK(one_line_with(with("tuning_seed", 7), "`tuning_seed`", "\"tuning_seeds\"?"));
  CHECK(with("tuning_seeds", {7}).empty());
  CHECK(one_line_with(refusal_after([](LibraryJson& p) { p.erase("tuning"); }), "`tuning_seeds`", "with `tuning`"));
  CHECK(one_line_with(with("full", {{"schedule.peak", 0.1}}), "`tuning.schedule.peak`", "`full`"));
  CHECK(one_line_with(with("full", {{"train.epoch", 1}}), "plan.json: full", "train.epoch", "train.epochs?"));
  CHECK(one_line_with(with("full_seeds", {1, 1}), "`full_seeds`", "[1,1]"));
  CHECK(one_line_with(with("calibrated", 1), "`calibrated`", "true or false", "1"));
  CHECK(one_line_with(refusal_after([](LibraryJson&) {}, true), "`full` is missing", "--full"));
}

TEST_CASE("study: its plans are valid, in both of their sizes") {
  for (const auto& entry : std::filesystem::directory_iterator("apps/configs/study")) {
    const std::string path = entry.path().string();
    CAPTURE(path);
    if (entry.path().extension() != ".json") continue;
    for (const bool full : {false, true}) {
      if (full && !has(slurp(path), "\"full\":")) continue;
      const Plan plan = read_plan(path, {}, full);
      CHECK_FALSE(runs_of(plan).empty());
      CHECK(tuning_runs_of(plan).empty() == plan.tuning.empty());
    }
  }
}

TEST_CASE("full: changes of the base below settings, heads and --set, and other seeds") {
  LibraryJson json = example();
  json["full"] = {{"train.epochs", 50}, {"train", {{"batch_size", 512}}}};
  json["full_seeds"] = {5, 6, 7};
  const Plan small = plan_of(json), full = plan_of(json, {"train.batch_size=64"}, true);
  CHECK_FALSE(small.full);
  CHECK(small.base.train.epochs == 10);
  CHECK(small.seeds.size() == 2);
  CHECK(full.full);
  CHECK(full.base.train.epochs == 50);
  CHECK(full.base.train.batch_size == 64);
  CHECK(full.seeds == std::vector<uint64_t>{5, 6, 7});
}

TEST_CASE("tuning: a study, stopped and gone on with, by one process and by two") {
  const TunedPlace place;
  const Outcome before = run_program(place.command("out", {"--dry-run"}));
  REQUIRE_MESSAGE(before.code == 0, before.err);
  CHECK(has(before.out, "4 tuning runs, then 4 runs"));
  CHECK(has(before.out, "DET   1000  DET/tuning/schedule.peak-1e-09/seed-1000  not begun  train\n"));
  CHECK(has(before.out, "DET   0     DET/seed-0                                not begun  after tuning\n"));
  CHECK(has(before.out, "HET   0     HET/seed-0                                not begun  train\n"));
  CHECK_FALSE(place.exists("out"));

  const std::string point = place.folder.path("out/fashion-mnist/DET/tuning/schedule.peak-0.05/seed-");
  const std::string last = point + "1001/metrics.jsonl";
  const auto ready = [&] { return count_lines(last) > 0; };
  const auto stop = [&] { return run_program(place.command("out"), {.signal = SIGINT, .when = ready}); };
  CHECK(until_stopped(place.folder.path("out"), "report.html", stop).code == 130);
  const Outcome outcome = run_program(place.command("out"));
  REQUIRE_MESSAGE(outcome.code == 0, outcome.err);
  CHECK(has(outcome.out, "[4/4] fashion-mnist · DET · tuning schedule.peak 0.05, seed 1001: held-out nll "));
  const LibraryJson results = place.results("out");
  const LibraryJson& det = results["cells"][0];
  REQUIRE(det["tuning"].size() == 2);
  for (const size_t seed : {0, 1}) {
    const LibraryJson &hopeless = det["tuning"][0]["held_out_nll"][seed],
                      &good = det["tuning"][1]["held_out_nll"][seed];
    CHECK(hopeless.get<double>() > good.get<double>());
    CHECK(good.get<double>() == number_at(slurp(point + std::to_string(1000 + seed) + "/summary.json"), "/best_nll"));
  }
  CHECK(det["tuning"][1]["chosen"] == true);
  CHECK(det["tuning"][1]["values"]["schedule.peak"] == 0.05);
  CHECK_FALSE(results["cells"][1].contains("tuning"));
  CHECK(json_at(slurp(place.folder.path("out/fashion-mnist/DET/seed-1/config.json")), "/schedule/peak") == "0.05");
  const std::string chosen = "DET: schedule.peak 0.05 (2 tried, ";
  CHECK(has(slurp(place.folder.path("out/table.md")), "DET: schedule.peak 0.05 (2 tried, "));
  CHECK(has(slurp(place.folder.path("out/report.html")), chosen));

  const std::string written = slurp(place.folder.path("out/results.json"));
  const Outcome again = run_program(place.command("out"));
  CHECK(again.code == 0);
  CHECK(occurrences(again.out, "validation: nll") == 0);
  CHECK(slurp(place.folder.path("out/results.json")) == written);
  CHECK(has(run_program(place.command("out", {"--dry-run"})).out, "Next: keep: 8"));

  const auto both = [&] { return run_program(place.command("two")); };
  std::future<Outcome> first = std::async(std::launch::async, both), second = std::async(std::launch::async, both);
  const Outcome a = first.get(), b = second.get();
  REQUIRE_MESSAGE(a.code == 0, a.err);
  REQUIRE_MESSAGE(b.code == 0, b.err);
  CHECK(without_timings(place.results("two")) == without_timings(results));
  CHECK(fails_with(run_program(place.command("out", {"--seed", "1001"})), 2, "`tuning_seeds`", "got 1001"));
}

TEST_CASE("tuning: a point whose numbers do not stay finite is tried once, and not chosen") {
  TunedPlace place;
  place.json["tuning"] = {{"schedule.peak", {1e30, 0.05}}};
  place.json["heads"].erase("HET");
  place.json["seeds"] = {0};
  place.write();
  const Outcome outcome = run_program(place.command("out"));
  REQUIRE_MESSAGE(outcome.code == 0, outcome.err);
  CHECK(has(outcome.out, "[1/4] fashion-mnist · DET · tuning schedule.peak 1e+30, seed 1000: diverged\n"));
  const LibraryJson tuning = place.results("out")["cells"][0]["tuning"];
  CHECK(tuning[0]["held_out_nll"] == LibraryJson{nullptr, nullptr});
  CHECK(tuning[1]["chosen"] == true);
  const Outcome listed = run_program(place.command("out", {"--dry-run"}));
  CHECK(has(listed.out, "diverged  keep\n"));
  CHECK(has(listed.out, "Next: keep: 5"));
  CHECK(fails_with(run_program(place.command("out", {"--set", "optimizer.kind=adam"})), 2, "diverged.json",
                   "is of another configuration: optimizer.kind differs", "--fresh"));
  const std::string note = "out/fashion-mnist/DET/tuning/schedule.peak-1e-30/seed-1000/diverged.json";
  REQUIRE(place.exists(note));
  place.folder.write(note, "[]");
  CHECK(fails_with(run_program(place.command("out")), 1, "diverged.json", "expected what a tuning run"));
  CHECK(run_program(place.command("out", {"--fresh"})).code == 0);
  CHECK(has(slurp(place.folder.path(note)), "train_seconds"));
}

TEST_CASE("tuning: a point counts whose folder somebody empties before the last is trained") {
  TunedPlace place;
  place.json["tuning"] = {{"schedule.peak", {0.05, 1e-9, 1e-8, 1e-7}}};
  place.json["heads"].erase("HET");
  place.write();
  const std::string first = place.folder.path("out/fashion-mnist/DET/tuning/schedule.peak-0.05/seed-1000/summary.json");
  const Outcome outcome =
      run_program(place.command("out"), {.signal = SIGCONT, .when = [&] { return std::filesystem::remove(first); }});
  REQUIRE_MESSAGE(outcome.code == 0, outcome.err);
  const LibraryJson tuning = place.results("out")["cells"][0]["tuning"];
  REQUIRE(tuning.size() == 4);
  for (const LibraryJson& point : tuning) CHECK(point["held_out_nll"].size() == 2);
  CHECK(tuning[0]["chosen"] == true);
  CHECK(read_config(place.folder.path("out/fashion-mnist/DET/seed-0/config.json")).schedule.peak == 0.05);
}

TEST_CASE("tuning and calibration: without held-out images they are refused before anything is trained") {
  TunedPlace place;
  place.json["base"]["data"]["validation"] = 0;
  place.write();
  CHECK(fails_with(run_program(place.command("out")), 2, "plan.json: settings.fashion-mnist", "`tuning`",
                   "data.validation above 0"));
  place.without_tuning();
  place.json["calibrated"] = true;
  place.write();
  CHECK(fails_with(run_program(place.command("out")), 2, "`calibrated`", "data.validation above 0"));
  CHECK_FALSE(place.exists("out"));
}

TEST_CASE("full: the folder of one size is not used for the other") {
  TunedPlace place;
  place.without_tuning();
  place.json["heads"].erase("HET");
  place.json["seeds"] = {0};
  place.json["full"] = {{"train.steps", 14}};  // alone, this would go on longer
  place.write();
  REQUIRE(run_program(place.command("out")).code == 0);
  CHECK_FALSE(place.results("out").contains("full"));
  CHECK(fails_with(run_program(place.command("out", {"--full"})), 2, "results.json", "without --full", "--fresh"));
  REQUIRE(run_program(place.command("full", {"--full"})).code == 0);
  CHECK(place.results("full")["full"] == true);
  CHECK(place.results("full")["cells"][0]["runs"][0]["summary"]["steps"] == 14);
  CHECK(fails_with(run_program(place.command("full")), 2, "results.json", "of --full"));
  CHECK(run_program(place.command("out", {"--full", "--fresh"})).code == 0);
  CHECK(fails_with(run_program({"replicate", "--images", "photos", "--model", "resnet18", "--full"}), 2, "--full"));
}

TEST_CASE("calibrated: one temperature a run, as evaluate --calibrate fits it, kept in results.json") {
  TunedPlace place;
  place.without_tuning();
  place.json["calibrated"] = true;
  place.json["ensembles"] = true;
  place.write();
  const auto both = [&] { return run_program(place.command("out")); };
  std::future<Outcome> first = std::async(std::launch::async, both), second = std::async(std::launch::async, both);
  const Outcome a = first.get(), b = second.get();
  REQUIRE_MESSAGE(a.code == 0, a.err);
  REQUIRE_MESSAGE(b.code == 0, b.err);
  const LibraryJson results = place.results("out");
  const std::string run = place.folder.path("out/fashion-mnist/HET/seed-1");
  REQUIRE(run_program({"evaluate", run, "--calibrate", "validation", "--out", place.folder.path("evaluation")}).code ==
          0);
  const std::string fitted = slurp(run + "/calibration.json");
  const LibraryJson& calibrated = results["cells"][1]["calibrated"];
  REQUIRE(calibrated.size() == 2);
  CHECK(calibrated[1]["seed"] == 1);
  CHECK(calibrated[1]["temperature"].get<double>() == number_at(fitted, "/temperature/temperature"));
  const std::string measured = slurp(place.folder.path("evaluation/evaluation.json"));
  CHECK(calibrated[1]["test"]["nll"].get<double>() == number_at(measured, "/calibration/measures/temperature/nll"));
  CHECK(calibrated[1]["test"]["reliability"].size() == 15);
  const std::string table = slurp(place.folder.path("out/table.md"));
  CHECK(has(table, "| DET, their ensemble | 2 |"));
  CHECK(has(table, "| HET, calibrated, T "));
  CHECK(has(slurp(place.folder.path("out/report.html")), "HET, calibrated, T "));

  // What is known of the very same runs is not measured again, even where their weights are gone.
  const std::string written = slurp(place.folder.path("out/results.json"));
  std::filesystem::remove(run + "/best.safetensors");
  CHECK(run_program(place.command("out")).code == 0);
  CHECK(slurp(place.folder.path("out/results.json")) == written);
  for (const char* file : {"results.json", "table.md", "report.html"})
    std::filesystem::remove(place.folder.path(std::string("out/") + file));
  std::filesystem::remove(run + "/last.safetensors");
  const Outcome without = run_program(place.command("out"));
  REQUIRE_MESSAGE(without.code == 0, without.err);
  CHECK(has(without.err, "the calibration of fashion-mnist · HET is left out: "));
  CHECK(place.results("out")["cells"][0]["calibrated"].size() == 2);
  CHECK_FALSE(place.results("out")["cells"][1].contains("calibrated"));
}
