// Training by several ranks: what one process computes, a folder that does not know how many they were.

#include <doctest/doctest.h>
#include <sys/types.h>

#include <cmath>
#include <csignal>
#include <filesystem>
#include <string>

#include "core/json.h"
#include "tests/apps/environment.h"
#include "tests/apps/support.h"
#include "tests/common/mpirun.h"

namespace sked::test {
namespace {

/// Losses of training in a run's metrics.
std::vector<double> losses(const RunFolder& run) {
  std::vector<double> all;
  std::istringstream lines(slurp(run.metrics()));
  for (std::string line; std::getline(lines, line);) {
    const Json json = parse_json(line, run.metrics());
    if (json.at("split").string() == "train") all.push_back(json.at("loss").number());
  }
  return all;
}

void check_close(double got, double want, double tolerance) {
  CHECK(std::abs(got - want) <= tolerance * std::abs(want));
}

/// Tensors and losses of two runs that began alike, but for the order of sums.
void check_same_run(const RunFolder& got, const RunFolder& want, double tolerance = 1e-4) {
  const std::vector<double> a = losses(got), b = losses(want);
  REQUIRE(a.size() == b.size());
  for (size_t i = 0; i < a.size(); ++i) check_close(a[i], b[i], tolerance);
  const auto left = tensors(got.last()), right = tensors(want.last());
  REQUIRE(left.size() == right.size());
  for (const auto& [name, values] : right) {
    CAPTURE(name);
    REQUIRE(left.contains(name));
    double most = 0, error = 0;
    for (size_t i = 0; i < values.size(); ++i) {
      most = std::max(most, std::abs(static_cast<double>(values[i])));
      error = std::max(error, std::abs(static_cast<double>(values[i]) - static_cast<double>(left.at(name)[i])));
    }
    CHECK(error <= 20 * tolerance * std::max(most, 0.01));
  }
}

/// A learning rate at which rounding stays rounding.
RunConfig calm(RunConfig config) {
  config.schedule.peak = 0.005;
  config.train.epochs = 1;
  return config;
}

}  // namespace

TEST_CASE("train on ranks: every head, divided classes and optimizer state, uneven shares: what one process computes") {
  if (!has_mpirun()) return;
  TrainPlace place;
  struct Case {
    const char* name;
    HeadKind head;
    int64_t ranks, batch, accumulate;
    bool classes, state;
  };
  for (const Case& c : {Case{"det", HeadKind::det, 2, 16, 1, true, false},
                        {"het", HeadKind::het, 3, 16, 1, true, true},
                        {"het-xl", HeadKind::het_xl, 4, 18, 2, true, true},
                        {"whole", HeadKind::het_xl, 3, 17, 1, false, false}}) {
    CAPTURE(c.name);
    RunConfig config = calm(place.config());
    config.head.kind = c.head;
    config.head.shard_classes = c.classes;
    config.optimizer.shard = c.state;
    config.optimizer.clip_norm = 0.5;
    config.train.batch_size = c.batch;
    config.train.accumulate = c.accumulate;
    config.train.ema_decay = c.state ? 0.9 : 0;
    place.write_config(config);
    const std::string name = c.name;
    REQUIRE(run_program(place.command(name + "-1")).code == 0);
    const Outcome several = mpirun(c.ranks, place.command(name + "-n"));
    REQUIRE_MESSAGE(several.code == 0, several.err);
    CHECK(occurrences(several.out, "test: nll") == 1);
    check_same_run(place.run(name + "-n"), place.run(name + "-1"));
    const Json one = parse_json(slurp(place.run(name + "-1").summary()), "one"),
               all = parse_json(slurp(place.run(name + "-n").summary()), "all");
    check_close(all.at("test").at("nll").number(), one.at("test").at("nll").number(), 1e-4);
    for (const char* key : {"params_total", "params_head_extra", "steps", "training_data"})
      CHECK(all.at(key) == one.at(key));
  }
}

TEST_CASE("train on ranks: image-text training has the loss of the whole batch's pairs") {
  if (!has_mpirun()) return;
  TrainPlace place;
  RunConfig config = tiny_captioned(place.config());
  config.train.epochs = 1;
  // Adam would make steps of the rounding errors that the bias of keys has for a gradient.
  config.optimizer.kind = OptimizerKind::sgd;
  config.schedule.peak = 0.02;
  place.write_config(config);
  const auto command = [&](const std::string& run) {
    std::vector<std::string> words = place.command(run);
    words[0] = "contrast";
    return words;
  };
  REQUIRE(run_program(command("one")).code == 0);
  const Outcome three = mpirun(3, command("three"));
  REQUIRE_MESSAGE(three.code == 0, three.err);
  check_same_run(place.run("three"), place.run("one"), 2e-4);
}

TEST_CASE(
    "train on ranks: killed or stopped, the same command goes on to the same bits, and any other number goes on") {
  if (!has_mpirun()) return;
  TrainPlace place;
  RunConfig config = calm(place.config());
  config.train.epochs = 6;
  config.train.checkpoint_every = 3;
  config.optimizer.shard = config.head.shard_classes = true;
  place.write_config(config);
  REQUIRE(mpirun(3, place.command("whole")).code == 0);
  REQUIRE(run_program(place.command("alone")).code == 0);
  check_same_run(place.run("whole"), place.run("alone"));
  for (const int signal : {SIGKILL, SIGTERM}) {
    CAPTURE(signal);
    const std::string name = signal == SIGKILL ? "killed" : "stopped", out = place.run(name).path.string();
    const auto send = [&] {
      if (count_lines(place.run(name).metrics()) < 8) return false;
      const std::vector<pid_t> ranks = processes_of("train", out);
      if (!ranks.empty()) ::kill(ranks.back(), signal);
      return !ranks.empty();
    };
    const Outcome ended = until_stopped(
        out, "summary.json", [&] { return mpirun(3, place.command(name), {.signal = SIGCONT, .when = send}); });
    CHECK(ended.code == 128 + signal);
    REQUIRE(std::filesystem::exists(place.run(name).last()));
    std::filesystem::copy(out, out + "-2", std::filesystem::copy_options::recursive);
    REQUIRE(mpirun(3, place.command(name)).code == 0);
    CHECK(tensors(place.run(name).last()) == tensors(place.run("whole").last()));
    CHECK(losses(place.run(name)) == losses(place.run("whole")));
    const Outcome other =
        signal == SIGKILL ? run_program(place.command(name + "-2")) : mpirun(2, place.command(name + "-2"));
    CHECK(other.code == 0);
    check_same_run(place.run(name + "-2"), place.run("whole"));
  }
}

TEST_CASE("train on ranks: divided classes begin with those of a file") {
  if (!has_mpirun()) return;
  TrainPlace place;
  RunConfig config = calm(place.config());
  config.head.kind = HeadKind::het;
  config.head.shard_classes = true;
  place.write_config(config);
  REQUIRE(run_program(place.command("first")).code == 0);
  config.train.init = place.run("first").last();
  place.write_config(config);
  REQUIRE(run_program(place.command("one")).code == 0);
  const Outcome three = mpirun(3, place.command("three"));
  REQUIRE_MESSAGE(three.code == 0, three.err);
  check_same_run(place.run("three"), place.run("one"));
  CHECK(slurp(place.run("three").init()) == slurp(place.run("one").init()));
}

TEST_CASE("train on ranks: what differs between ranks, and a batch too small for them, is said in one line") {
  if (!has_mpirun()) return;
  TrainPlace place;
  place.write_config(place.config());
  const auto words = [&](const std::string& more) {
    std::string line = "-np 1";
    std::vector<std::string> command = place.command("x");
    command[0] = build_folder() + "/train";
    for (const std::string& word : command) line += " '" + word + "'";
    return line + more;
  };
  std::string line = "OMP_NUM_THREADS=1";
  for (const std::string& word : mpirun_words(1))
    if (word != "-np" && word != "1") line += " " + word;
  const Shell differ = shell(line + " " + words("") + " : " + words(" --set optimizer.momentum=0.8"));
  CHECK(differ.code == 1);
  CHECK(has(differ.text, "error: [train] rank 1 differs from rank 0 in the configuration: optimizer.momentum"));
  CHECK(occurrences(differ.text, "error: ") == 1);
  const Outcome small = mpirun(3, place.command("small", {"--set", "train.batch_size=2"}));
  CHECK(small.code == 2);
  CHECK(occurrences(small.err, "error: ") == 1);
  CHECK(has(small.err, "train.batch_size: expected at least one image for each of 3 ranks, got 2"));
}

}  // namespace sked::test
