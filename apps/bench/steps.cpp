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
  const int64_t batch = std::min<int64_t>(8, c.batch);
  Training tuned(c, batch, device, false), definition(c, batch, device, false);
  const double loss = tuned.gradients().item(), norm = tuned.gradient_norm();
  const ReferenceOnly scope;
  const double expected_loss = definition.gradients().item(), expected_norm = definition.gradient_norm();
  // Two computations of a deep network in another order; batch norm over a few images amplifies rounding.
  row.check(std::max(std::abs(loss / expected_loss - 1), std::abs(norm / expected_norm - 1)),
            activation_dtype(device) == DType::bf16 ? 0.1 : 1e-2);
}

/// PyTorch's side, ready to step.
std::unique_ptr<Peer> start_peer(const StepCase& c, const Settings& settings, const std::string& mode) {
  std::vector<std::string> command = {settings.peer, settings.script};
  const auto add = [&](const char* option, const std::string& value) {
    command.push_back(option);
    command.push_back(value);
  };
  add("--model", c.model.name);
  add("--batch", std::to_string(c.batch));
  add("--size", std::to_string(c.size));
  add("--classes", std::to_string(c.classes));
  add("--threads", std::to_string(settings.threads));
  add("--device", name(settings.device));
  add("--precision", name(product_precision()));
  add("--mode", mode);
  const bool convolves = c.model.name.starts_with("resnet");
  if (settings.device == Device::cuda && convolves) add("--layout", "channels_last");
  auto peer = std::make_unique<Peer>(command);
  tell({}, "  " + c.name + ": peer" + peer->info());
  return peer;
}

int warmup_steps(const Settings& s) { return s.device == Device::cuda && s.shrink == 1 ? 5 : 1; }
/// On a GPU a run of steps, long beside the wait at its end.
int timed_steps(const Settings& s) { return s.device == Device::cuda && s.shrink == 1 ? 20 : 2; }

/// Ours and, in turn with it, PyTorch in each of its modes; the row's ratio is that to its best one.
void time(Row& row, const StepCase& c, const Settings& settings, Training& training, const Report& report) {
  const int steps = timed_steps(settings), warmup = warmup_steps(settings);
  training.seconds(warmup);
  std::vector<double> ours;
  const auto time_ours = [&](int rounds) {
    for (int round = 0; round < rounds; ++round) ours.push_back(training.seconds(steps));
    row.seconds = median(ours);
  };
  if (settings.peer.empty()) return time_ours(settings.rounds);
  time_ours(1);  // it is known before the peer takes minutes to compile
  report(row, false);
  for (const std::string& mode : settings.peer_modes) {
    const std::unique_ptr<Peer> peer = start_peer(c, settings, mode);
    peer->run(warmup);
    std::vector<double> theirs, ratios;
    for (int round = 0; round < settings.rounds; ++round) {
      time_ours(1);
      theirs.push_back(median(peer->run(steps)));
      ratios.push_back(theirs.back() / ours.back());
    }
    row.peer_modes.emplace_back(mode, median(theirs));
    if (row.peer_seconds == 0 || median(theirs) < row.peer_seconds) {
      row.peer_seconds = median(theirs);
      row.ratio = median(ratios);
    }
    report(row, false);
  }
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
    time(row, c, settings, training, report);
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

}  // namespace

void step_rows(const Settings& settings, const Report& report) {
  const std::vector<StepCase> on_cpu = {
      {.name = "step ResNet-18 32x32", .model = {.name = "resnet18", .stem = Stem::cifar}, .batch = 64, .size = 32},
      vit_s(16)};
  const std::vector<StepCase> on_gpu = {
      vit_s(256),
      {.name = "step ViT-B/16 224x224", .model = {.name = "vit-b"}, .batch = 256, .size = 224},
      {.name = "step ResNet-50 224x224",
       .model = {.name = "resnet50", .stem = Stem::imagenet},
       .batch = 256,
       .size = 224}};
  for (const StepCase& real : settings.device == Device::cuda ? on_gpu : on_cpu) {
    StepCase c = shrunk(real, settings);
    c.name += " batch " + std::to_string(c.batch);
    if (settings.wants(c.name)) run(c, settings, report);
  }
}

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
