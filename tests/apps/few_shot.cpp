// Few-shot classification of other data sets, on the way through a training and of finished models.

#include "apps/common/measure/few_shot.h"

#include <doctest/doctest.h>
#include <signal.h>

#include <sstream>

#include "apps/common/run/checkpoint.h"
#include "apps/common/run/trainer.h"
#include "core/error.h"
#include "data/image_file.h"
#include "tests/apps/support.h"

using namespace sked;
using namespace sked::test;

namespace {

const TrainOptions kQuiet{.quiet = true};

struct Place {
  Place() { write_tiny_data(folder.path("data")); }
  RunConfig config() const {
    RunConfig c = tiny_config(folder.path("data"));
    c.few_shot = {.data = {"fashion-mnist"}, .shots = {1, 5}, .every = 2};
    return c;
  }
  std::string write(const RunConfig& config) const { return folder.write("run.json", config_text(config)); }
  RunFolder run(const std::string& name) const { return {folder.path(name)}; }
  Outcome train(const RunConfig& config, const std::string& out, const RunLimits& limits = {}) const {
    return run_program({"train", "--config", write(config), "--out", folder.path(out), "--threads", "1"}, limits);
  }
  TemporaryFolder folder;
};

/// The lines of metrics.jsonl of one split.
std::vector<std::string> lines_of(const RunFolder& run, const std::string& split) {
  std::vector<std::string> all;
  std::istringstream lines(slurp(run.metrics()));
  for (std::string line; std::getline(lines, line);)
    if (text_at(line, "/split") == split) all.push_back(line);
  return all;
}

}  // namespace

TEST_CASE("few-shot in training: at every second evaluation and of the final weights, which evaluate confirms") {
  const Place place;
  RunConfig config = place.config();
  config.train.ema_decay = 0.9;
  const RunFolder run = place.run("run");
  const Outcome outcome = place.train(config, "run");
  REQUIRE_MESSAGE(outcome.code == 0, outcome.err);
  CHECK(outcome.out.find("few-shot on fashion-mnist, 1/5 images of each class: ") != std::string::npos);
  const std::vector<std::string> periodic = lines_of(run, "validation"), test = lines_of(run, "test");
  REQUIRE(periodic.size() == 3);
  REQUIRE(test.size() == 1);
  CHECK(json_at(periodic[0], "/few_shot").empty());
  CHECK(json_at(periodic[2], "/few_shot").empty());
  CHECK(text_at(periodic[1], "/few_shot/0/dataset") == "fashion-mnist");
  CHECK(number_at(periodic[1], "/few_shot/0/count") == 60);
  CHECK(number_at(periodic[1], "/few_shot/0/results/1/shots") == 5);
  const std::string summary = slurp(run.summary());
  CHECK(json_at(summary, "/few_shot") == json_at(test[0], "/few_shot"));
  const Summary read = read_summary(run.summary());
  REQUIRE(read.few_shot.size() == 1);
  CHECK(few_shot_json(read.few_shot).dump() == few_shot_json(read_summary(run.summary()).few_shot).dump());
  CHECK(read.few_shot[0].results[1].accuracy > 0.2);  // chance: 0.1
  // The averaged weights are what is measured, there and here.
  const Outcome measured = run_program({"evaluate", "--few-shot", "fashion-mnist", run.path, "--samples", "0", "--out",
                                        place.folder.path("measured"), "--threads", "1"});
  REQUIRE_MESSAGE(measured.code == 0, measured.err);
  const std::string json = slurp(place.folder.path("measured/evaluation.json"));
  CHECK(size_at(json, "/few_shot/results") == 3);  // of 1, 5, 10 and 25 images: a class has 20
  for (const std::string at : {"/results/0/accuracy", "/results/1/accuracy", "/results/1/lambda"})
    CHECK(number_at(json, "/few_shot" + at) == number_at(summary, "/few_shot/0" + at));
}

TEST_CASE("few-shot in training: it changes nothing of the training, and a killed run ends as if never stopped") {
  const Place place;
  RunConfig config = place.config();
  config.few_shot.every = 1;
  config.train.checkpoint_every = 4;
  REQUIRE(place.train(config, "whole").code == 0);
  const RunFolder whole = place.run("whole"), part = place.run("part"), without = place.run("without");
  const auto ready = [&] { return count_lines(part.metrics()) >= 13; };
  const auto kill = [&] { return place.train(config, "part", {.signal = SIGKILL, .when = ready}); };
  REQUIRE(until_stopped(part.path, "summary.json", kill).code == 128 + SIGKILL);
  REQUIRE(place.train(config, "part").code == 0);
  CHECK(metrics_without_timings(whole.metrics()) == metrics_without_timings(part.metrics()));
  CHECK(tensors(whole.last()) == tensors(part.last()));
  CHECK(json_at(slurp(whole.summary()), "/few_shot") == json_at(slurp(part.summary()), "/few_shot"));
  config.few_shot = {};
  REQUIRE(place.train(config, "without").code == 0);
  CHECK(tensors(whole.last()) == tensors(without.last()));
  CHECK(json_at(slurp(without.summary()), "/few_shot").empty());
  CHECK(read_summary(without.summary()).few_shot.empty());
  // It is a part of what a run is.
  config.few_shot.data = {"fashion-mnist"};
  CHECK(fails_with(place.train(config, "without"), 2, "few_shot.data differs", "--fresh"));
}

TEST_CASE("few-shot in training: only at the end, of several data sets, and of classes with few images") {
  if (!can_decode_images()) return skip("built without image libraries");
  const Place place;
  for (const std::string split : {"train", "test"})
    for (const std::string name : {"cat", "dog"})
      for (int i = 0; i < 3; ++i) {
        const std::string file = "images/" + split + "/" + name + "/" + std::to_string(i) + ".png";
        place.folder.write(file, "");
        write_png(place.folder.path(file), Tensor::full({12, 10, 3}, (name == "cat" ? 20.0 : 200.0) + i, DType::u8));
      }
  RunConfig config = place.config();
  const std::string images = "image-folder:" + place.folder.path("images");
  config.few_shot = {.data = {images, "fashion-mnist"}, .shots = {2, 4}, .every = 0};
  const RunFolder run = place.run("run");
  const Outcome outcome = place.train(config, "run");
  REQUIRE_MESSAGE(outcome.code == 0, outcome.err);
  CHECK(outcome.err.find("images of " + images) != std::string::npos);  // resized to the model's, and said
  CHECK(outcome.out.find("2/4 images of each class: 100.00 %  none") != std::string::npos);
  for (const std::string& line : lines_of(run, "validation")) CHECK(json_at(line, "/few_shot").empty());
  const std::string summary = slurp(run.summary());
  CHECK(size_at(summary, "/few_shot") == 2);
  CHECK(size_at(summary, "/few_shot/0/results") == 1);
  CHECK(number_at(summary, "/few_shot/0/count") == 6);
  CHECK(size_at(summary, "/few_shot/1/results") == 2);
  // evaluate takes several as well, and makes a list of them.
  const Outcome measured = run_program({"evaluate", run.path, "--few-shot", images, "--few-shot", "fashion-mnist",
                                        "--samples", "0", "--out", place.folder.path("measured")});
  REQUIRE_MESSAGE(measured.code == 0, measured.err);
  const std::string json = slurp(place.folder.path("measured/evaluation.json"));
  CHECK(size_at(json, "/few_shot") == 2);
  CHECK(text_at(json, "/few_shot/0/dataset") == images);
  CHECK(text_at(json, "/few_shot/1/dataset") == "fashion-mnist");
}

TEST_CASE("few-shot in training: what cannot be measured is refused before anything is written") {
  const Place place;
  const auto refusal = [&](const std::string& assignment) {
    const std::string error = error_of([&] {
      RunConfig config = place.config();
      set_field(assignment, fields_of(config));
      train(config, place.run("run").path, kQuiet);
    });
    CHECK_FALSE(std::filesystem::exists(place.run("run").path));
    return error;
  };
  CHECK(one_line_with(refusal("few_shot.data=[\"cifar-10\"]"), "few_shot.data", "cifar-10", "make data"));
  CHECK(one_line_with(refusal("few_shot.data=cifar-01"), "few_shot.data", "cifar-01", "cifar-10"));
  CHECK(one_line_with(refusal("few_shot.data=image-folder:none"), "few_shot.data", "none"));
  CHECK(one_line_with(refusal("few_shot.data=[\"a\",\"a\"]"), "few_shot.data", "a", "twice"));
  CHECK(one_line_with(refusal("few_shot.data=[1]"), "few_shot.data", "a list of texts", "[1]"));
  CHECK(one_line_with(refusal("few_shot.data=3"), "few_shot.data", "a list of texts", "3"));
  CHECK(one_line_with(refusal("few_shot.shots=[]"), "few_shot.shots", "at least one number", "[]"));
  CHECK(one_line_with(refusal("few_shot.shots=[0]"), "few_shot.shots", "1 to 10000", "[0]"));
  CHECK(one_line_with(refusal("few_shot.every=-1"), "few_shot.every", "at least 0", "-1"));
  CHECK(one_line_with(refusal("few_shot.dta=[]"), "few_shot.dta", "few_shot.data"));
}

TEST_CASE("few-shot: what is not a list of it in a summary is refused") {
  const Place place;
  RunConfig config = place.config();
  config.few_shot.every = 0;
  config.train.steps = 1;
  train(config, place.run("run").path, kQuiet);
  const std::string path = place.run("run").summary(), good = slurp(path);
  const size_t at = good.find("\"few_shot\":");
  REQUIRE(at != std::string::npos);
  for (const std::string wrong : {"1", "[1]", "[{}]", "[{\"dataset\": 1, \"count\": 1, \"results\": []}]",
                                  "[{\"dataset\": \"a\", \"count\": 1, \"results\": [{\"shot\": 1}]}]"}) {
    place.folder.write("run/summary.json", good.substr(0, at) + "\"few_shot\": " + wrong + "}");
    CAPTURE(wrong);
    CHECK(one_line_with(error_of([&] { read_summary(path); }), "summary.json", "few_shot"));
  }
}
