// Ensembles: averages of what several runs predict.

#include "apps/common/run/ensemble.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "apps/common/measure/estimate.h"
#include "data/image_file.h"
#include "tests/apps/plans.h"
#include "tests/apps/support.h"
#include "tests/common/files.h"
#include "tests/data/archives.h"

using namespace sked;
using namespace sked::test;

namespace {

/// What one run says of its test images, in double.
struct Answers {
  std::vector<std::vector<double>> rows;
  std::vector<int64_t> labels;
};

Answers answers_of(const std::string& run) {
  const Asked asked = load_asked(run, {}, {});
  Answers answers;
  for_each_prediction(*asked.model, asked.splits.test, asked.config().data.eval_pipeline, asked.predict,
                      [&](const Prediction& p) {
                        const int64_t classes = p.probabilities.dim(1);
                        for (int64_t b = 0; b < p.probabilities.dim(0); ++b) {
                          const float* row = p.probabilities.data<float>() + b * classes;
                          answers.rows.emplace_back(row, row + classes);
                          answers.labels.push_back(p.batch.labels.data<int64_t>()[b]);
                        }
                      });
  return answers;
}

size_t best_of(const std::vector<double>& row) {
  return static_cast<size_t>(std::ranges::max_element(row) - row.begin());
}

double share_apart(const Answers& a, const Answers& b) {
  double apart = 0;
  for (size_t i = 0; i < a.rows.size(); ++i) apart += best_of(a.rows[i]) != best_of(b.rows[i]);
  return apart / static_cast<double>(a.rows.size());
}

/// Are the ensemble's measures those of the mean of 60 answers?
void check_average(const std::string& json, const std::vector<Answers>& answers) {
  double nll = 0, right = 0, brier = 0;
  REQUIRE(answers[0].rows.size() == 60);
  for (size_t i = 0; i < 60; ++i) {
    std::vector<double> mean(10, 0.0);
    for (const Answers& member : answers)
      for (size_t k = 0; k < 10; ++k) mean[k] += member.rows[i][k] / static_cast<double>(answers.size());
    const auto y = static_cast<size_t>(answers[0].labels[i]);
    nll -= std::log(mean[y]) / 60;
    right += best_of(mean) == y ? 1.0 / 60 : 0;
    for (size_t k = 0; k < 10; ++k) brier += (mean[k] - (k == y)) * (mean[k] - (k == y)) / 60;
  }
  CHECK(number_at(json, "/ensemble/test/nll") == doctest::Approx(nll).epsilon(1e-7));
  CHECK(number_at(json, "/ensemble/test/accuracy") == doctest::Approx(right));
  CHECK(number_at(json, "/ensemble/test/brier") == doctest::Approx(brier).epsilon(1e-7));
}

RunConfig with_head(RunConfig config, HeadKind kind, uint64_t seed) {
  config.head.kind = kind;
  config.head.temperature.learn = false;
  config.seed = seed;
  return config;
}

Outcome evaluate_runs(std::vector<std::string> words) {
  words.insert(words.begin(), "evaluate");
  words.insert(words.end(), {"--threads", "1"});
  return run_program(words);
}

/// One image as a member of a shard.
std::string shard_sample(int i, const std::string& png, const std::string& label) {
  const std::string key = std::to_string(i);
  return tar_member(key + ".png", png) + tar_member(key + ".cls", label);
}

}  // namespace

TEST_CASE("ensemble: probabilities are averaged, each member by its own network and pipeline") {
  const TemporaryFolder folder;
  write_tiny_data(folder.path("data"));
  const RunConfig config = tiny_config(folder.path("data"));
  RunConfig other = with_head(config, HeadKind::det, 2);
  other.data.eval_pipeline = "value_range(-2,3)";
  other.model.base_width = 6;
  other.train.batch_size = 25;  // another number of batches
  const std::vector<std::string> runs{train_run(folder, config, "het-xl"),
                                      train_run(folder, with_head(config, HeadKind::het, 1), "het"),
                                      train_run(folder, other, "det")};
  const Outcome outcome =
      evaluate_runs({runs[0], runs[1], runs[2], "--out", folder.path("together"), "--data-root", folder.path("data")});
  REQUIRE_MESSAGE(outcome.code == 0, outcome.err);
  CHECK(outcome.out.find("fashion-mnist, test images: 60; the probabilities of 3 runs are averaged") !=
        std::string::npos);
  const std::string json = slurp(folder.path("together/evaluation.json"));

  const std::vector<Answers> answers{answers_of(runs[0]), answers_of(runs[1]), answers_of(runs[2])};
  check_average(json, answers);
  CHECK(number_at(json, "/ensemble/disagreement") ==
        doctest::Approx((share_apart(answers[0], answers[1]) + share_apart(answers[0], answers[2]) +
                         share_apart(answers[1], answers[2])) /
                        3));
  CHECK(number_at(json, "/ensemble/disagreement") > 0);  // the members are not one and the same
  std::vector<double> each;
  for (size_t m = 0; m < 3; ++m) {
    // as the run alone is measured
    CHECK(json_at(json, "/members/" + std::to_string(m) + "/test") ==
          json_at(slurp(runs[m] + "/summary.json"), "/test"));
    each.push_back(number_at(json, "/members/" + std::to_string(m) + "/test/nll"));
  }
  const double mean = (each[0] + each[1] + each[2]) / 3;
  double squares = 0;
  for (const double v : each) squares += (v - mean) * (v - mean);
  CHECK(number_at(json, "/mean/nll/mean") == doctest::Approx(mean));
  CHECK(number_at(json, "/mean/nll/standard_error") == doctest::Approx(std::sqrt(squares / 2 / 3)));
  // The average is no worse than the mean member: -log is convex.
  CHECK(number_at(json, "/ensemble/test/nll") < mean);
  CHECK(text_at(json, "/checkpoint/1") == runs[1]);
  // Results of several are replaced by those of one, and other options hold for each.
  const Outcome held =
      evaluate_runs({runs[0], runs[1], "--split", "validation", "--samples", "3", "--out", folder.path("together")});
  CHECK_MESSAGE(held.code == 0, held.err);
  const std::string validation = slurp(folder.path("together/evaluation.json"));
  CHECK(number_at(validation, "/ensemble/validation/count") == 40);
  CHECK(number_at(validation, "/members/1/samples") == 3);
  CHECK(evaluate_runs({runs[0], "--out", folder.path("together")}).code == 0);
}

TEST_CASE("ensemble: members of other classes, images or links are refused, naming the run and both values") {
  const TemporaryFolder folder;
  write_tiny_data(folder.path("data"));
  write_tiny_data(folder.path("fewer"), {.test = 50});
  const RunConfig config = with_head(tiny_config(folder.path("data")), HeadKind::det, 0);
  const std::string run = train_run(folder, config, "run");
  int count = 0;
  const auto refused = [&](const RunConfig& other, int code, const auto&... parts) {
    const std::string second = train_run(folder, other, "second" + std::to_string(count++));
    const Outcome outcome = evaluate_runs({run, second});
    CHECK(outcome.out.empty());
    return fails_with(outcome, code, second, parts...);
  };
  RunConfig sigmoid = config;
  sigmoid.head.link = Link::sigmoid;
  CHECK(refused(sigmoid, 1, "head.link: sigmoid", run, "is softmax"));
  RunConfig fewer = config;
  fewer.data.root = folder.path("fewer");
  CHECK(refused(fewer, 1, "test images: 50", run, "has 60"));
  RunConfig noise = config;
  noise.data.noise = LabelNoise::symmetric;
  CHECK(refused(noise, 1, "data.noise: symmetric", "is none"));
  CHECK(fails_with(evaluate_runs({run, folder.path("run/")}), 2, "this one twice"));
  CHECK(fails_with(evaluate_runs({run, run + "/best.safetensors"}), 2, "this one twice"));
  CHECK(fails_with(evaluate_runs({run, folder.path("nowhere")}), 2, "nowhere"));
  const std::string again = train_run(folder, with_head(config, HeadKind::det, 5), "again");
  CHECK(fails_with(evaluate_runs({run, again, "--ood", "cifar-10"}), 2, "--ood cifar-10: expected one run, got 2"));
  CHECK(fails_with(evaluate_runs({run, again, "--few-shot", "cifar-10"}), 2, "--few-shot cifar-10", "one run"));
}

TEST_CASE("ensemble: classes are matched by name") {
  if (!can_decode_images()) return skip("built without image libraries");
  const TemporaryFolder folder;
  const std::vector<std::string> names{"cat", "dog", "owl"};
  std::string tar;
  for (int i = 0; i < 12; ++i)
    for (const std::string split : {"train", "test"}) {
      const std::string file = "images/" + split + "/" + names[static_cast<size_t>(i) % 3] + "/" + std::to_string(i);
      folder.write(file + ".png", "");
      write_png(folder.path(file + ".png"), Tensor::full({8, 8, 3}, 80.0 * (i % 3) + i, DType::u8));
      if (split == "test") tar += shard_sample(i, slurp(folder.path(file + ".png")), std::to_string((i + 1) % 3));
    }
  tar += std::string(1024, '\0');
  folder.write("shards/classes.tsv", "0\tc\towl\n1\ta\tcat\n2\tb\tdog\n");
  folder.write("shards/train-0.tar", tar);
  folder.write("shards/test-0.tar", tar);
  RunConfig config = with_head(tiny_config(""), HeadKind::det, 0);
  config.data.validation = 0;
  config.data.name = "image-folder";
  config.data.path = folder.path("images");
  config.data.train_pipeline = config.data.eval_pipeline = "decode|resize_small(8)|central_crop(8)|value_range(-1,1)";
  config.train.batch_size = 4;
  const std::string first = train_run(folder, config, "first");
  config.data.name = "shards";
  config.data.path = folder.path("shards");
  config.seed = 1;
  const std::string second = train_run(folder, config, "second");
  CHECK(fails_with(evaluate_runs({first, second}), 1, second, "test images: 12 as", "but others"));
  const std::vector<std::string> same{"--set", "data.name=image-folder", "--set", "data.path=" + folder.path("images"),
                                      "--out", folder.path("out")};
  const auto evaluation = [&](std::vector<std::string> runs) {
    runs.insert(runs.end(), same.begin(), same.end());
    const Outcome outcome = evaluate_runs(runs);
    REQUIRE_MESSAGE(outcome.code == 0, outcome.err);
    return slurp(folder.path("out/evaluation.json"));
  };
  const std::string alone = evaluation({second}), pair = evaluation({first, second}),
                    back = evaluation({second, first});
  CHECK(number_at(pair, "/members/1/test/nll") == doctest::Approx(number_at(alone, "/test/nll")).epsilon(1e-9));
  CHECK(number_at(pair, "/members/1/test/accuracy") == number_at(alone, "/test/accuracy"));
  CHECK(number_at(pair, "/ensemble/test/nll") == doctest::Approx(number_at(back, "/ensemble/test/nll")).epsilon(1e-9));
  CHECK(number_at(pair, "/ensemble/disagreement") == number_at(back, "/ensemble/disagreement"));
  // Another class is one too many.
  config.data.name = "image-folder";
  config.data.path = folder.path("wider-images");
  std::filesystem::copy(folder.path("images"), folder.path("wider-images"), std::filesystem::copy_options::recursive);
  for (const std::string split : {"train", "test"}) {
    folder.write("wider-images/" + split + "/newt/0.png", "");
    write_png(folder.path("wider-images/" + split + "/newt/0.png"), Tensor::full({8, 8, 3}, 9, DType::u8));
  }
  const std::string wider = train_run(folder, config, "wider");
  CHECK(fails_with(evaluate_runs({wider, first}), 1, first, "class names: 3 classes, expected 4", "newt", wider));
}

TEST_CASE("ensemble: an image that one member cannot read") {
  if (!can_decode_images()) return skip("built without image libraries");
  const TemporaryFolder folder;
  for (int i = 0; i < 8; ++i)
    for (const std::string split : {"train", "test"}) {
      const std::string file = "images/" + split + (i % 2 ? "/cat/" : "/dog/") + std::to_string(i) + ".png";
      folder.write(file, "");
      write_png(folder.path(file), Tensor::full({8, 8, 3}, 100.0 * (i % 2) + i, DType::u8));
    }
  RunConfig config = with_head(tiny_config(""), HeadKind::det, 0);
  config.data.validation = 0;
  config.data.name = "image-folder";
  config.data.path = folder.path("images");
  config.data.skip_limit = 1;
  config.data.train_pipeline = config.data.eval_pipeline = "decode|resize_small(8)|central_crop(8)|value_range(-1,1)";
  config.train.batch_size = 4;
  const std::string first = train_run(folder, config, "first");
  config.seed = 1;
  const std::string second = train_run(folder, config, "second");
  folder.write("images/test/cat/3.png", "damaged");
  const Outcome outcome = evaluate_runs({first, second, "--out", folder.path("out")});
  CHECK_MESSAGE(outcome.code == 0, outcome.err);
  CHECK(outcome.err.find("left out: ") == outcome.err.rfind("left out: "));  // said once
  CHECK(number_at(slurp(folder.path("out/evaluation.json")), "/ensemble/test/count") == 7);
}

TEST_CASE("combined: every number that all evaluations have, by its path") {
  const Json a{{"nll", 1.0},
               {"count", 3},
               {"human", Json{{"entropy", 2}, {"count", 3}}},
               {"own", 1.0},
               {"bins", Json::array({1})}},
      b{{"nll", 2.0}, {"count", 3}, {"human", Json{{"entropy", 5}, {"count", 3}}}, {"bins", Json::array({1})}};
  const auto sum = [](const std::vector<double>& v) { return Json(v[0] + v[1]); };
  CHECK(combined({a, b}, sum).dump() == R"({"nll":3.0,"human":{"entropy":7.0}})");
  CHECK(combined({}, sum).dump() == "{}");
  CHECK(json_of(estimate({1, 3})).dump() == R"({"mean":2.0,"standard_error":1.0,"count":2})");
}

TEST_CASE("replicate: ensembles of the seeds, evaluated once") {
  Workplace place;
  LibraryJson plan = library_json(slurp(place.folder.path("plan.json")));
  plan["base"]["train"]["epochs"] = 1;
  place.folder.write("plan.json", plan.dump());
  REQUIRE(run_program(place.command("out")).code == 0);
  CHECK_FALSE(place.results("out")["cells"][0].contains("ensemble"));  // unless asked for
  CHECK_FALSE(has(slurp(place.folder.path("out/table.md")), "ensemble"));

  plan["ensembles"] = true;  // of runs that are there, over a results.json that knows none
  place.folder.write("plan.json", plan.dump());
  const Outcome first = run_program(place.command("out"));
  REQUIRE_MESSAGE(first.code == 0, first.err);
  CHECK(occurrences(first.out, "ensemble of 2: nll") == 2);
  const std::string results = slurp(place.folder.path("out/results.json")),
                    report = slurp(place.folder.path("out/report.html"));
  for (const char* row : {"| DET, their ensemble | 2 |", "| HET \\<XL>, their ensemble | 2 |"})
    CHECK(has(slurp(place.folder.path("out/table.md")), row));
  CHECK(has(report, "HET &lt;XL&gt;, their ensemble"));
  const LibraryJson cells = place.results("out")["cells"];
  for (size_t k = 0; k < 2; ++k) {
    const std::string folder = place.folder.path("out/fashion-mnist/" + std::string(k == 0 ? "DET" : "HET--XL-"));
    const Outcome both =
        evaluate_runs({folder + "/seed-0", folder + "/seed-1", "--out", place.folder.path("evaluation")});
    REQUIRE_MESSAGE(both.code == 0, both.err);
    const LibraryJson alone = library_json(slurp(place.folder.path("evaluation/evaluation.json")));
    CHECK(cells[k]["ensemble"]["test"] == alone["ensemble"]["test"]);
    CHECK(cells[k]["ensemble"]["disagreement"] == alone["ensemble"]["disagreement"]);
  }
  // The same runs are not evaluated again, so their weights may go; others are.
  const auto forget = [&](const char* head) {
    for (const std::string file : {"/last.safetensors", "/best.safetensors"})
      std::filesystem::remove(place.folder.path("out/fashion-mnist/" + std::string(head) + "/seed-1" + file));
  };
  const Outcome again = run_program(place.command("out"));
  CHECK_MESSAGE(again.code == 0, again.err);
  CHECK_FALSE(has(again.out, "ensemble of 2: nll"));
  CHECK(slurp(place.folder.path("out/results.json")) == results);
  CHECK(slurp(place.folder.path("out/report.html")) == report);
  forget("DET");
  CHECK(run_program(place.command("out")).code == 0);
  CHECK(slurp(place.folder.path("out/results.json")) == results);
  place.folder.write("out/results.json", R"({"cells": [{"ensemble": 1}]})");  // not to be read
  const Outcome left = run_program(place.command("out"));
  CHECK_MESSAGE(left.code == 0, left.err);
  CHECK(has(left.err, "the ensemble of fashion-mnist · DET is left out: "));
  CHECK_FALSE(place.results("out")["cells"][0].contains("ensemble"));
  CHECK(place.results("out")["cells"][1]["ensemble"] == cells[1]["ensemble"]);
  plan["ensembles"] = "yes";
  place.folder.write("plan.json", plan.dump());
  CHECK(
      fails_with(run_program(place.command("out")), 2, "plan.json", "`ensembles` expected true or false, got \"yes\""));
}
