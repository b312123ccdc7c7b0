// Whole training steps: forward, backward and an SGD step of a classifier on random images, on the CPU or a GPU.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>

#include "apps/bench/bench.h"
#include "apps/bench/peer.h"
#include "apps/common/config/progress.h"
#include "apps/common/run/gradient_step.h"
#include "autograd/optimizer.h"
#include "core/kernels/random.h"
#include "core/precision.h"
#include "layers/classifier.h"
#include "layers/heads/make_head.h"
#include "layers/models/model.h"

namespace sked::bench {
namespace {

struct StepCase {
  std::string name;
  ModelConfig model;
  int64_t batch, size, classes = 1000;
};

/// A model with its batch, ready to step.
class Training {
 public:
  Training(const StepCase& c, int64_t batch, Device device, bool record) : device_(device) {
    Init init(7, device);
    auto backbone = make_backbone(c.model, {c.size, c.size, 3}, init);
    flops_ =
        3 * backbone->flops_per_image() * static_cast<double>(batch);  // backward: gradients of inputs and of weights
    const int64_t width = backbone->width();
    model_ = std::make_unique<Classifier>(std::move(backbone), make_head({}, width, c.classes, init));
    optimizer_ = std::make_unique<Optimizer>(OptimizerConfig{}, model_->parameters());
    std::vector<int64_t> labels(static_cast<size_t>(batch)), examples(labels);
    for (int64_t i = 0; i < batch; ++i)
      labels[static_cast<size_t>(i)] = i % c.classes, examples[static_cast<size_t>(i)] = i;
    labels_ = Tensor::from(labels, {batch}).to(device);
    context_ = {.training = true,
                .seed = 1,
                .examples = Tensor::from(examples, {batch}).to(device),
                .activations = activation_dtype(device)};
    images_ = Tensor::empty({batch, 1, c.size * c.size * 3}, DType::f32, device);
    kernel::gaussian_noise(context_.examples, images_, RngAddress{3, 0, 0}, 0);
    images_ = images_.reshape(Shape{batch, c.size, c.size, 3});
    const auto loss = [this](const TensorList& in, const Context& context) {
      const Var phi = model_->backbone().forward(Var(in[0]), context);
      return model_->head().loss(phi, {.labels = in[1], .distributions = {}}, context);
    };
    step_ = std::make_unique<GradientStep>(loss, model_->parameters(), device, record,
                                           [](const std::string& note) { tell({}, "  note: " + note); });
  }

  double flops() const { return flops_; }

  /// Forward and backward; returns the loss.
  Tensor gradients() { return step_->run({images_, labels_}, context_); }
  /// Seconds of one step, of `steps` that need not wait for each other.
  double seconds(int steps) {
    return median_seconds(
               [&] {
                 for (int i = 0; i < steps; ++i) {
                   gradients();
                   optimizer_->step(0.01);
                 }
                 memory(device_).synchronize();
               },
               1, 0) /
           steps;
  }
  double gradient_norm() const {
    TensorList gradients;
    for (const NamedVar& p : model_->parameters()) gradients.push_back(p.var.grad());
    Tensor norm = Tensor::empty({1}, DType::f32, device_);
    kernel::global_norm(gradients, norm);
    return norm.item();
  }

 private:
  Device device_;
  double flops_ = 0;
  std::unique_ptr<Classifier> model_;
  std::unique_ptr<Optimizer> optimizer_;
  std::unique_ptr<GradientStep> step_;
  Tensor images_, labels_;
  Context context_;
};

/// Largest relative difference of loss and gradient norm between the tuned kernels and the definitions, on a few
/// images.
void check(Row& row, const StepCase& c, Device device) {
  // 14 images make a ViT-S's layers large enough for the kernels that a GPU's library has for its own batch.
  const int64_t batch = std::min<int64_t>(device == Device::cuda ? 16 : 8, c.batch);
  Training tuned(c, batch, device, false), definition(c, batch, device, false);
  const double loss = tuned.gradients().item(), norm = tuned.gradient_norm();
  const ReferenceOnly scope;
  const double expected_loss = definition.gradients().item(), expected_norm = definition.gradient_norm();
  // Two computations of a deep network in another order; batch norm over a few images amplifies rounding.
  row.check(std::max(std::abs(loss / expected_loss - 1), std::abs(norm / expected_norm - 1)),
            activation_dtype(device) == DType::bf16 ? 0.1 : 1e-2);
}

int warmup_steps(const Settings& s) { return s.device == Device::cuda && s.shrink == 1 ? 5 : 1; }
/// On a GPU a run of steps, long beside the wait at its end.
int timed_steps(const Settings& s) { return s.device == Device::cuda && s.shrink == 1 ? 20 : 2; }

/// The options of peer_torch.py for such a step.
std::vector<std::string> peer_options(const StepCase& c) {
  return {"--model", c.model.name,           "--batch",   std::to_string(c.batch),
          "--size",  std::to_string(c.size), "--classes", std::to_string(c.classes)};
}

void run(const StepCase& c, const Settings& settings, const Report& report) {
  Row row{.name = c.name, .images = static_cast<double>(c.batch)};
  if (!settings.profile) check(row, c, settings.device);
  Training training(c, c.batch, settings.device, settings.record && !settings.profile);
  row.operations = training.flops();
  if (settings.profile) {
    training.seconds(warmup_steps(settings));
    profile(row, settings.device, [&] { training.seconds(1); });
  } else {
    time_in_turn(row,
                 {.ours = [&](int steps) { return training.seconds(steps); },
                  .steps = timed_steps(settings),
                  .warmup = warmup_steps(settings),
                  .options = peer_options(c),
                  .convolves = c.model.name.starts_with("resnet")},
                 settings, report);
  }
  report(row, true);
}

StepCase vit_s(int64_t batch) {
  return {.name = "step ViT-S/16 224x224", .model = {.name = "vit-s"}, .batch = batch, .size = 224};
}

/// As small as settings.shrink asks for, with a batch that batch norm can take.
StepCase shrunk(StepCase c, const Settings& settings) {
  if (settings.shrink == 1) return c;
  c.batch = settings.shrunk(c.batch, 2);
  c.size = settings.shrunk(c.size, 16);
  c.classes = settings.shrunk(c.classes, 4);
  c.name += " shrunk";
  if (!c.model.name.starts_with("vit")) return c;
  c.model.width = settings.shrunk(384, 48) / 48 * 48;
  c.model.depth = settings.shrunk(12);
  return c;
}

StepCase vit_b(int64_t batch) {
  return {.name = "step ViT-B/16 224x224", .model = {.name = "vit-b"}, .batch = batch, .size = 224};
}

StepCase resnet50(int64_t batch) {
  return {.name = "step ResNet-50 224x224",
          .model = {.name = "resnet50", .stem = Stem::imagenet},
          .batch = batch,
          .size = 224};
}

void run(const std::vector<StepCase>& cases, const Settings& settings, const Report& report) {
  for (const StepCase& real : cases) {
    StepCase c = shrunk(real, settings);
    c.name += " batch " + std::to_string(c.batch);
    if (settings.wants(c.name)) run(c, settings, report);
  }
}

}  // namespace

void step_rows(const Settings& settings, const Report& report) {
  const StepCase resnet18 = {
      .name = "step ResNet-18 32x32", .model = {.name = "resnet18", .stem = Stem::cifar}, .batch = 64, .size = 32};
  if (settings.device == Device::cuda)
    run({vit_s(256), vit_b(256), resnet50(256)}, settings, report);
  else
    run({resnet18, vit_s(16)}, settings, report);
}

void large_step_rows(const Settings& settings, const Report& report) { run({resnet50(8), vit_b(8)}, settings, report); }

double step_seconds(const Settings& settings, Gelu gelu) {
  StepCase c = shrunk(vit_s(256), settings);
  c.model.gelu = gelu;
  Training training(c, c.batch, settings.device, settings.record);
  training.seconds(warmup_steps(settings));
  const int steps = timed_steps(settings);
  std::vector<double> seconds;
  for (int round = 0; round < settings.rounds; ++round) seconds.push_back(training.seconds(steps));
  return median(seconds);
}

}  // namespace sked::bench
