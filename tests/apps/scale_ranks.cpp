// scale --ranks: what is counted in a dry run is what a real step does; the time made of it; the command line.

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "apps/scale/ranks.h"
#include "core/allocator.h"
#include "core/error.h"
#include "layers/models/model.h"
#include "tests/apps/support.h"
#include "tests/common/mpirun.h"
#include "tests/common/thread_ranks.h"

using namespace sked;
using namespace sked::test;
using scale::StepConfig;
using scale::StepCount;
using scale::TrainingStep;

namespace {

StepConfig small_step(const HeadConfig& head) {
  return {.model = {.name = "vit", .patch = 4, .width = 16, .depth = 2, .heads = 2, .mlp = 32},
          .image = 8,
          .head = head,
          .classes = 11};
}

StepConfig small_residual_step(const HeadConfig& head) {
  StepConfig config = small_step(head);
  config.model = {.name = "resnet-cifar", .blocks = {1, 1}, .base_width = 4};
  return config;
}

scale::Work all_of(const StepCount& count) {
  scale::Work all = count.forward;
  for (const scale::Work* work : {&count.backward, &count.head, &count.update}) all += *work;
  return all;
}

void check_same_exchange(const scale::Work& expected, const scale::Work& got) {
  CHECK(expected.collectives.size() == got.collectives.size());
  for (const auto& [name, entry] : got.collectives) {
    CAPTURE(name);
    REQUIRE(expected.collectives.count(name) == 1);
    CHECK(expected.collectives.at(name).calls == entry.calls);
    CHECK(expected.collectives.at(name).bytes == entry.bytes);
  }
}

}  // namespace

TEST_CASE("scale: the operations counted are those of the networks' formulas") {
  for (const char* name : {"vit-ti", "resnet50", "resnext50-32x4d"}) {
    CAPTURE(name);
    const DryRun dry;
    Init init = Init::blank();
    const auto backbone = make_backbone({.name = name}, {224, 224, 3}, init);
    const WorkCount count;
    backbone->forward(Var(Tensor::empty({2, 224, 224, 3})), {.training = true});
    CHECK(static_cast<double>(count.total().operations) == 2 * backbone->flops_per_image());
  }
}

TEST_CASE("scale: a dry run counts what one of two and of three ranks does in a real step") {
  static constexpr int64_t kImages = 4;
  const auto check = [](const StepConfig& config, int64_t size) {
    CAPTURE(name_of(config.head.kind));
    CAPTURE(config.head.shard_classes);
    CAPTURE(config.model.name);
    CAPTURE(size);
    const StepCount expected = count_step(config, kImages * size, size, kImages);
    CHECK(expected.images == kImages);
    CHECK(expected.parts == 1);
    on_ranks(size, [&](Communicator& ranks) {
      Init init(1);
      TrainingStep step(config, ranks, init);
      step.run(kImages);
      const WorkCount real;
      step.run(kImages);
      const DryRun dry;  // kernels that kernels call are counted in the real step as well
      const WorkCount count;
      step.run(kImages);
      if (ranks.rank() < size - 1) return;
      check_same_exchange(all_of(expected), scale::work_of(real));
      check_same_exchange(all_of(expected), scale::work_of(count));
      CHECK(all_of(expected).operations == scale::work_of(count).operations);
      CHECK(all_of(expected).bytes == scale::work_of(count).bytes);
    });
  };
  for (scale::HeadKindConfig head : scale::compared_heads(2, 3))
    for (const bool sharded : {false, true}) {
      head.config.shard_classes = sharded;
      for (const StepConfig& config : {small_step(head.config), small_residual_step(head.config)})
        for (const int64_t size : {1, 2, 3}) check(config, size);
    }
}

TEST_CASE("scale: divided classes leave a rank its share of them, and their gradients on it") {
  HeadConfig head = scale::compared_heads(2, 3).back().config;
  StepConfig config = small_step(head);
  config.classes = 4000;
  const StepCount whole = count_step(config, 16, 4, 64);
  config.head.shard_classes = true;
  const StepCount shard = count_step(config, 16, 4, 64);
  const int64_t others = 3000 * (16 + 1) * 4;  // bytes of the other ranks' W and b; blocks are rounded up
  const auto near = [](int64_t value) { return doctest::Approx(static_cast<double>(value)).epsilon(0.1); };
  CHECK(static_cast<double>(whole.parameters - shard.parameters) == near(others));
  CHECK(static_cast<double>(whole.gradients - shard.gradients) == near(others));
  CHECK(static_cast<double>(whole.state - shard.state) == near(2 * others));
  const auto sent = [](const StepCount& c) { return c.update.collectives.at("start_all_reduce").bytes; };
  CHECK(sent(whole) - sent(shard) == 4000 * (16 + 1) * 4);
  CHECK(shard.head.collectives.size() > 0);
  CHECK(static_cast<double>(shard.head.operations) ==
        doctest::Approx(static_cast<double>(whole.head.operations)).epsilon(0.05));
}

TEST_CASE("scale: parts cost the operations of the whole, and memory of one") {
  const StepConfig config = small_step(scale::compared_heads(2, 3).back().config);
  const StepCount whole = count_step(config, 32, 2, 64), parts = count_step(config, 32, 2, 4);
  CHECK(whole.parts == 1);
  CHECK(parts.parts == 4);
  CHECK(all_of(whole).operations == all_of(parts).operations);
  CHECK(whole.parameters == parts.parameters);
  CHECK(whole.activations > 2 * parts.activations);
}

TEST_CASE("scale: memory is that of a real step") {
  const HeadConfig head = scale::compared_heads(2, 3).back().config;
  const StepCount expected = count_step(small_step(head), 64, 1, 64);
  int64_t parameters = 0;
  Init init(1);
  CachingAllocator& memory = sked::allocator(Device::cpu);
  const size_t before = memory.stats().live;
  TrainingStep step(small_step(head), alone(), init);
  for (const NamedVar& p : step.model().parameters())
    parameters += static_cast<int64_t>(CachingAllocator::rounded(p.var.value().bytes()));
  step.run(64);
  memory.reset_peak();
  step.run(64);
  const auto peak = static_cast<int64_t>(memory.stats().peak - before);
  CHECK(expected.parameters == parameters);
  CHECK(expected.gradients == parameters);
  CHECK(expected.state >= 2 * parameters);
  const int64_t pixels = 64 * 8 * 8 * 3 * 4;  // of both the batch and what the network makes of it
  CHECK(expected.memory() + 2 * pixels >= peak);
  CHECK(expected.memory() <= 1.3 * static_cast<double>(peak));
}

TEST_CASE("scale: seconds of collectives and of a step") {
  const scale::Machine machine{.rate = 100, .link = 10, .latency = 0.5, .memory = 20, .hidden = 0.5};
  const WorkCount::Entry entry{.calls = 3, .bytes = 40};
  CHECK(seconds_of("all_gather", entry, 4, machine) == doctest::Approx(30 / 10.0 + 3 * 2 * 0.5));
  CHECK(seconds_of("reduce_scatter", entry, 5, machine) == doctest::Approx(32 / 10.0 + 3 * 3 * 0.5));
  CHECK(seconds_of("all_reduce", entry, 4, machine) == doctest::Approx(2 * (30 / 10.0 + 3 * 2 * 0.5)));
  CHECK(seconds_of("barrier", {.calls = 1}, 2, machine) == 0.5);
  StepCount count;
  count.parts = 2;
  count.forward.operations = 100;
  count.backward.operations = 200;
  count.head.collectives["all_gather"] = entry;
  count.update.bytes = 40;
  count.update.collectives["start_all_reduce"] = {.calls = 1, .bytes = 8};
  const scale::StepTime time = time_of(count, 4, machine);
  CHECK(time.compute == doctest::Approx(3));
  CHECK(time.optimizer == doctest::Approx(2));
  CHECK(time.exchange == doctest::Approx(6));
  CHECK(time.gradients == doctest::Approx(2 * (0.6 + 2 * 0.5)));
  CHECK(time.hidden == doctest::Approx(1));  // the last part's backward pass is no longer
  CHECK(time.at_most() - time.at_least() == doctest::Approx(1));
}

TEST_CASE("scale: --ranks writes its table, JSON and plots, and says what it cannot count") {
  const TemporaryFolder folder;
  const auto scale = [&](std::vector<std::string> more) {
    std::vector<std::string> words = {"scale", "--rank", "2"};
    const std::vector<std::string> usual = {"--model", "resnet20", "--image", "32", "--classes", "20"};
    for (size_t i = 0; i < usual.size(); i += 2)
      if (std::ranges::count(more, usual[i]) == 0) words.insert(words.end(), {usual[i], usual[i + 1]});
    words.insert(words.end(), more.begin(), more.end());
    return run_program(words);
  };
  const Outcome good = scale(
      {"--ranks", "1", "4", "--global-batch", "64", "128", "--heads", "DET", "HET-XL", "--out", folder.path("out")});
  CHECK(good.code == 0);
  const std::string json = slurp(folder.path("out") + "/scale.json");
  REQUIRE(size_at(json, "/steps") == 2 * 2 * 3);
  CHECK(text_at(json, "/steps/11/head") == "HET-XL");
  CHECK(number_at(json, "/steps/11/ranks") == 4);
  CHECK(number_at(json, "/steps/11/images") == 32);
  CHECK(number_at(json, "/steps/0/efficiency_at_most") == 1);
  CHECK(slurp(folder.path("out") + "/table.md") == good.out);
  const std::vector<std::string> two = {"--ranks", "2"};
  const auto refused = [&](std::vector<std::string> more, const char* option, const char* value) {
    if (more.front() != "--ranks") more.insert(more.begin(), two.begin(), two.end());
    CHECK(fails_with(scale(more), 2, option, value));
  };
  refused({"--ranks", "0"}, "--ranks", "got 0");
  refused({"--ranks", "x"}, "--ranks", "got x");
  refused({"--global-batch", "1"}, "--global-batch", "each of 2 ranks, got 1");
  refused({"--link", "0"}, "--link", "got 0");
  refused({"--rate", "fast"}, "--rate", "got fast");
  refused({"--latency", "-1"}, "--latency", "got -1");
  refused({"--hidden", "1.5"}, "--hidden", "got 1.5");
  refused({"--memory", "nan"}, "--memory", "got nan");
  refused({"--model", "resnet21"}, "resnet21", "resnet20");
  refused({"--classes", "5", "6"}, "--classes", "5, 6");
  refused({"--width", "64"}, "--width", "--model");
}

TEST_CASE("scale: a measured step has a machine, a time foretold and a time") {
  const StepConfig config = small_step(scale::compared_heads(2, 3).back().config);
  on_ranks(2, [&](Communicator& ranks) {
    const scale::Measured measured = measure_step(config, 8, ranks, 3);
    CHECK(measured.seconds > 0);
    CHECK(measured.foretold.at_least() > 0);
    CHECK(measured.foretold.gradients > 0);
    CHECK(std::isfinite(measured.machine.rate + measured.machine.link + measured.machine.memory));
    CHECK((measured.machine.hidden >= 0 && measured.machine.hidden <= 1));
    CHECK_THROWS_AS(measure_step(config, 9, ranks, 1), UsageError);
    CHECK_THROWS_AS(measure_step(config, 2, ranks, 1), UsageError);
  });
}

TEST_CASE("scale: processes measure real steps, and nothing else") {
  if (!has_mpirun()) return;
  const std::vector<std::string> words = {"scale", "--model",   "resnet20", "--image", "16", "--global-batch",
                                          "8",     "--classes", "20",       "--rank",  "2",  "--heads",
                                          "HET-XL"};
  const auto scale = [&](std::vector<std::string> more) {
    more.insert(more.begin(), words.begin(), words.end());
    return mpirun(2, more);
  };
  const TemporaryFolder folder;
  const Outcome good = scale({"--ranks", "2", "--measure", "--rounds", "1", "--out", folder.path("out")});
  CHECK(good.code == 0);
  const std::string json = slurp(folder.path("out") + "/scale.json");
  REQUIRE(size_at(json, "/steps") == 2);
  CHECK(number_at(json, "/steps/0/measured_seconds") > 0);
  CHECK(slurp(folder.path("out") + "/table.md") == good.out);
  const Outcome others = scale({"--ranks", "4", "--measure"}), unmeasured = scale({"--ranks", "2"});
  CHECK(others.code == 2);
  CHECK(others.err.starts_with("error: [--ranks] expected 2, as many as there are processes"));
  CHECK(unmeasured.code == 2);
  CHECK(unmeasured.err.starts_with("error: [--ranks] expected --measure or one process, got 2"));
}
