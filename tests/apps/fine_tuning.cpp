// Fine-tuning: frozen parts and learning rates of layers against timm and PyTorch (tests/fixtures/fine_tuning.py), and
// runs of build/train with them.

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <map>

#include "apps/common/measure/evaluation.h"
#include "apps/common/run/parameter_groups.h"
#include "apps/common/run/trainer.h"
#include "autograd/optimizer.h"
#include "core/safetensors.h"
#include "core/work_count.h"
#include "data/tokenizer.h"
#include "tests/apps/support.h"
#include "tests/common/compare.h"
#include "tests/common/hash_weights.h"

using namespace sked;
using namespace sked::test;

namespace {

constexpr int64_t kClasses = 10;
const TrainOptions kQuiet{.quiet = true};

const Tensor& fixture(const std::string& key) {
  static const TensorFile file = load_safetensors("tests/fixtures/fine_tuning.safetensors");
  return file.at(key);
}

RunConfig with_model(const ModelConfig& model) {
  RunConfig config;
  config.model = model;
  config.head.kind = HeadKind::det;
  config.head.temperature = {.learn = false, .value = 1};
  return config;
}

std::unique_ptr<Classifier> classifier(const RunConfig& config, int64_t size) {
  return make_classifier(config, {size, size, 3}, kClasses, Device::cpu);
}

ModelConfig vit(ModelConfig config) {
  config.name = "vit";
  config.patch = 8, config.width = 32, config.depth = config.depth ? config.depth : 2, config.heads = 4,
  config.mlp = 64;
  return config;
}

/// The network of a case, with its weights and statistics, and its batch.
struct Tuned {
  Tuned(const RunConfig& c, int64_t batch) : config(c), model(classifier(c, kSize)) {
    for (NamedVar& p : model->parameters()) p.var.mutable_value().copy_from(hash_parameter(p.name, p.var.shape()));
    images = Var(hash_tensor({batch, kSize, kSize, 3}, 7));
    labels = hash_labels(batch, kClasses, 7);
    const NoGrad no_tape;
    model->backbone().forward(Var(hash_tensor({batch, kSize, kSize, 3}, 8)), {.training = true});
    freeze(*model, model->backbone(), config.train.freeze);
  }
  Var loss() {
    const Context context{.training = true};
    return model->head().loss(model->backbone().forward(images, context), {.labels = labels}, context);
  }
  std::vector<double> buffers() const {
    auto all = model->buffers();
    std::ranges::sort(all);
    std::vector<double> joined;
    for (const auto& [name, tensor] : all) {
      const std::vector<double> v = tensor->to_vector<double>();
      joined.insert(joined.end(), v.begin(), v.end());
    }
    return joined;
  }

  static constexpr int64_t kSize = 32;
  const RunConfig config;
  std::unique_ptr<Classifier> model;
  Var images;
  Tensor labels;
};

/// Ten steps as PyTorch makes them; what is frozen ends as it began.
void check_tuned(const std::string& name, const RunConfig& config, int64_t batch) {
  INFO(name);
  constexpr double kTolerance = 1e-4;  // of f32 against f64 over ten steps, as in tests/layers/networks.cpp
  Tuned tuned(config, batch);
  std::vector<std::pair<NamedVar, std::vector<float>>> frozen;
  for (const NamedVar& p : tuned.model->parameters())
    if (!p.var.requires_grad()) frozen.emplace_back(p, p.var.value().to_vector<float>());
  REQUIRE(!frozen.empty());
  Optimizer optimizer(config.optimizer, trained_parameters(*tuned.model),
                      lr_scales(*tuned.model, tuned.model->backbone(), config.optimizer));
  std::vector<double> losses;
  for (int step = 0; step <= 10; ++step) {
    const Var loss = tuned.loss();
    losses.push_back(loss.value().item());
    if (step == 10) break;
    optimizer.clear_grads();
    loss.backward();
    optimizer.step(config.schedule.peak);
  }
  CHECK(distance(losses, fixture(name + "/losses").to_vector<double>()) < kTolerance);
  if (const std::vector<double> buffers = tuned.buffers(); !buffers.empty())
    CHECK(distance(buffers, fixture(name + "/buffers").to_vector<double>()) < kTolerance);
  const Var phi = tuned.model->backbone().forward(tuned.images, {});
  const Tensor logits = tuned.model->head().classifier_logits(phi.value());
  CHECK(distance(logits.to_vector<double>(), fixture(name + "/logits").to_vector<double>()) < kTolerance);
  for (const auto& [p, before] : frozen) {
    CAPTURE(p.name);
    CHECK(p.var.value().to_vector<float>() == before);
    CHECK_FALSE(p.var.grad().defined());
  }
}

RunConfig small_resnet() { return with_model({.name = "resnet18", .blocks = {1, 1}, .base_width = 8}); }

/// What one step asks of the device.
std::map<std::string, WorkCount::Entry> work_of(const RunConfig& config) {
  Tuned tuned(config, 2);
  const WorkCount count;
  tuned.loss().backward();
  return count.entries();
}

}  // namespace

TEST_CASE("fine-tuning: learning rates of layers are timm's param_groups_layer_decay") {
  const std::vector<std::pair<std::string, ModelConfig>> networks{
      {"vit-ti", {.name = "vit-ti"}},
      {"vit-registers", vit({.registers = 3, .layer_scale = 0.1, .qk_norm = true})},
      {"vit-clip", vit({.norm = LastNorm::pooled, .positions = Positions::patches, .registers = 2, .pre_norm = true})},
      {"vit-map", vit({.pool = Pool::map})},
      {"resnet18", {.name = "resnet18"}},
      {"resnet50", {.name = "resnet50"}},
      {"bit", {.name = "bit-resnet50", .blocks = {2, 1}, .base_width = 32}}};
  for (const auto& [name, model] : networks) {
    INFO(name);
    const auto network = classifier(with_model(model), name == "vit-ti" ? 224 : 32);
    const OptimizerConfig config{.head_lr_scale = 5, .layer_decay = 0.75};
    const std::vector<double> scales = lr_scales(*network, network->backbone(), config);
    const std::vector<NamedVar> parameters = network->parameters();
    REQUIRE(scales.size() == parameters.size());
    std::vector<std::pair<std::string, double>> backbone;
    for (size_t i = 0; i < scales.size(); ++i) {
      if (parameters[i].name.starts_with("head."))
        CHECK(scales[i] == 5);
      else
        backbone.emplace_back(parameters[i].name, scales[i]);
    }
    std::ranges::sort(backbone);
    std::string names;
    std::vector<double> got;
    for (const auto& [n, scale] : backbone) names += n + "\n", got.push_back(scale);
    REQUIRE(hash_name(names) == fixture("names/" + name).to_vector<int64_t>().at(0));
    const std::vector<double> expected = fixture("scales/" + name).to_vector<double>();
    REQUIRE(got.size() == expected.size());
    for (size_t i = 0; i < got.size(); ++i) {
      CAPTURE(backbone[i].first);
      CHECK(got[i] == doctest::Approx(expected[i]).epsilon(1e-12));
    }
    CHECK(lr_scales(*network, network->backbone(), {}).empty());
  }
}

TEST_CASE("fine-tuning: frozen parts, their batch norms and the rates of the others train as PyTorch's") {
  RunConfig config = small_resnet();
  config.optimizer = {.kind = OptimizerKind::sgd, .momentum = 0.9};
  config.schedule.peak = 0.005;
  config.train.freeze = {"stem", "layer1"};
  check_tuned("resnet", config, 4);
  config.train.freeze = {"layer1", "layer2.0.bn1"};
  check_tuned("resnet-middle", config, 4);
  config = with_model(vit({.depth = 3}));
  config.optimizer = {.kind = OptimizerKind::adamw, .weight_decay = 0.1, .head_lr_scale = 5, .layer_decay = 0.75};
  config.schedule.peak = 0.002;
  config.train.freeze = {"stem", "blocks.1"};
  check_tuned("vit", config, 3);
}

TEST_CASE("fine-tuning: nothing is computed for the gradients of frozen parts") {
  RunConfig config = small_resnet();
  const auto calls = [](const RunConfig& c, const std::string& kernel) {
    const auto work = work_of(c);
    return work.contains(kernel) ? work.at(kernel).calls : 0;
  };
  // Convolutions: one of the stem, two and three of the blocks.
  CHECK(calls(config, "conv2d_backward_weight") == 6);
  CHECK(calls(config, "conv2d_backward_input") == 5);
  for (const bool recompute : {false, true}) {
    config.model.recompute = recompute;
    config.train.freeze = {"stem", "layer1"};
    CHECK(calls(config, "conv2d_forward") == (recompute ? 9 : 6));  // the second block alone is computed again
    CHECK(calls(config, "conv2d_backward_weight") == 3);
    CHECK(calls(config, "conv2d_backward_input") == 1);
    config.train.freeze = {"backbone"};
    CHECK(calls(config, "conv2d_forward") == 6);
    CHECK(calls(config, "conv2d_backward_weight") == 0);
    CHECK(calls(config, "conv2d_backward_input") == 0);
  }
  config = with_model(vit({}));
  CHECK(calls(config, "linear_backward_weight") == 10);  // the patches, four of each block, the classifier
  config.train.freeze = {"blocks.0"};                    // the gradient goes through it to the patches
  CHECK(calls(config, "linear_backward_weight") == 6);
  config.train.freeze = {"stem", "blocks.0"};
  CHECK(calls(config, "linear_backward_weight") == 5);
  config.train.freeze = {"backbone"};
  CHECK(calls(config, "linear_backward_input") == 0);
}

namespace {

/// A finished run on the tiny data, and what fine-tunes it on new classes' labels: the same images with other noise.
struct Finished {
  Finished() {
    RunConfig config = place.config();
    config.train.epochs = 1;
    train(config, place.run("first").path, kQuiet);
  }
  RunConfig tuning() const {
    RunConfig config = place.config();
    config.train.init = place.run("first").path;
    config.train.freeze = {"stem", "layer1"};
    config.optimizer.head_lr_scale = 3;
    config.optimizer.layer_decay = 0.5;
    config.optimizer.weight_decay = 0.1;
    config.train.ema_decay = 0.5;
    return config;
  }
  TrainPlace place;
};

}  // namespace

TEST_CASE("fine-tuning: what is frozen is as in the file of train.init, averages and statistics too; the rest is not") {
  const Finished begun;
  const RunFolder run = begun.place.run("tuned");
  train(begun.tuning(), run.path, kQuiet);
  const auto before = tensors(begun.place.run("first").best()), after = tensors(run.last());
  for (const auto& [name, values] : before) {
    CAPTURE(name);
    const bool frozen = name.starts_with("conv1") || name.starts_with("bn1") || name.starts_with("layer1");
    CHECK((after.at(name) == values) == frozen);
    if (frozen && after.contains("raw." + name)) CHECK(after.at("raw." + name) == values);  // statistics
    CHECK_FALSE((frozen && after.contains("optimizer.momentum." + name)));
  }
}

TEST_CASE("fine-tuning: killed in the middle it ends as if it had never stopped, in a run that is recorded too") {
  const Finished begun;
  RunConfig config = begun.tuning();
  config.train.epochs = 4;
  config.train.checkpoint_every = 3;
  begun.place.write_config(config);
  const RunFolder killed = begun.place.run("killed"), whole = begun.place.run("whole");
  const auto ready = [&] { return count_lines(killed.metrics()) >= 17; };
  until_stopped(killed.path, "summary.json",
                [&] { return run_program(begun.place.command("killed"), {.signal = SIGKILL, .when = ready}); });
  REQUIRE_FALSE(std::filesystem::exists(killed.summary()));
  const Outcome outcome = run_program(begun.place.command("killed"));
  CHECK(outcome.code == 0);
  CHECK(outcome.out.find("goes on from step") != std::string::npos);
  CHECK(outcome.out.find("train.freeze leaves the others as they are in train.init") != std::string::npos);
  REQUIRE(run_program(begun.place.command("whole")).code == 0);
  CHECK(metrics_without_timings(killed.metrics()) == metrics_without_timings(whole.metrics()));
  CHECK(tensors(killed.last()) == tensors(whole.last()));
  CHECK(tensors(killed.best()) == tensors(whole.best()));
  {
    const StandInRecorder recorder;
    const Threads one(1);
    train(config, begun.place.run("recorded").path, kQuiet);
    CHECK(recorder.recordings() == 1);
  }
  CHECK(tensors(begun.place.run("recorded").last()) == tensors(whole.last()));
}

TEST_CASE("fine-tuning: a factor on every learning rate is another peak") {
  const TrainPlace place;
  RunConfig config = place.config();
  config.head.kind = HeadKind::det;
  config.train.steps = 3;
  config.schedule = {.kind = ScheduleKind::constant, .peak = 0.0625};
  config.optimizer.layer_decay = 0.5;  // and the head as the last block
  config.optimizer.head_lr_scale = 0.5;
  config.train.freeze = {"stem", "layer1"};
  train(config, place.run("scaled").path, kQuiet);
  config.optimizer.layer_decay = config.optimizer.head_lr_scale = 1;
  config.schedule.peak = 0.03125;
  train(config, place.run("peak").path, kQuiet);
  CHECK(tensors(place.run("scaled").last()) == tensors(place.run("peak").last()));
}

TEST_CASE("fine-tuning: what cannot be frozen or scaled is refused in one line, before anything is written") {
  const TrainPlace place;
  const auto refused = [&](const std::vector<std::string>& set, const auto&... parts) {
    std::vector<std::string> more;
    for (const std::string& s : set) more.insert(more.end(), {"--set", s});
    CHECK(fails_with(run_program(place.command("run", more)), 2, parts...));
    CHECK_FALSE(std::filesystem::exists(place.run("run").path));
  };
  refused({R"(train.freeze=["stem","layer3"])"}, "train.freeze", "layer3", "did you mean \"layer1\"?");
  refused({"train.freeze=layer"}, "train.freeze", "layer", "did you mean \"layer1\"?");
  refused({"train.freeze=head.nois"}, "train.freeze", "did you mean \"head.noise\"?");
  refused({R"(train.freeze=["backbone","head"])"}, "train.freeze", "left to train");
  refused({"optimizer.layer_decay=0"}, "optimizer.layer_decay", "(0, 1]");
  refused({"optimizer.layer_decay=1.5"}, "optimizer.layer_decay", "1.5");
  refused({"optimizer.head_lr_scale=-1"}, "optimizer.head_lr_scale", "-1");
  const auto contrastive = [](RunConfig config) {
    config = tiny_captioned(config);
    config.optimizer.layer_decay = 0.5;
    return config;
  };
  CHECK(
      one_line_with(error_of([&] { validate(contrastive(place.config())); }), "optimizer.layer_decay", "contrastive"));
}

TEST_CASE("fine-tuning: towers of a contrastive model are frozen by their names") {
  if (!can_tokenize()) return skip("built without SentencePiece");
  const TrainPlace place;
  RunConfig config = tiny_captioned(place.config());
  config.train.steps = 2;
  config.train.freeze = {"stem", "text.blocks"};
  train(config, place.run("run").path, kQuiet);
  const auto trained = tensors(place.run("run").last());
  CHECK_FALSE(trained.contains("optimizer.m.visual.conv1.weight"));
  CHECK(trained.contains("optimizer.m.visual.layer1.0.conv1.weight"));
  bool block = false, other = false;
  for (const auto& [name, values] : trained) {
    block = block || name.starts_with("optimizer.m.text.blocks");
    other = other || name.starts_with("optimizer.m.text");
  }
  CHECK_FALSE(block);
  CHECK(other);
}
