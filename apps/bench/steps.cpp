// Whole training steps: forward, backward and an SGD step of a classifier on random images.

#include <cmath>
#include <cstdio>
#include <memory>

#include "apps/bench/bench.h"
#include "apps/bench/peer.h"
#include "autograd/optimizer.h"
#include "core/kernels/random.h"
#include "layers/classifier.h"
#include "layers/models/model.h"

namespace sked::bench {
namespace {

struct StepCase {
  std::string name, model, stem;
  int64_t batch, size, classes = 1000;
};

/// A model with its batch, ready to step.
class Training {
 public:
  Training(const StepCase& c, int64_t batch) : batch_(batch) {
    Init init(7);
    ModelConfig config;
    config.name = c.model;
    config.stem = c.stem;
    auto backbone = make_backbone(config, {c.size, c.size, 3}, init);
    flops_ =
        3 * backbone->flops_per_image() * static_cast<double>(batch);  // backward: gradients of inputs and of weights
    const int64_t width = backbone->width();
    model_ = std::make_unique<Classifier>(std::move(backbone), make_head({}, width, c.classes, init));
    optimizer_ = std::make_unique<Optimizer>(OptimizerConfig{}, model_->parameters());
    std::vector<int64_t> labels(static_cast<size_t>(batch)), examples(labels);
    for (int64_t i = 0; i < batch; ++i)
      labels[static_cast<size_t>(i)] = i % c.classes, examples[static_cast<size_t>(i)] = i;
    labels_ = Tensor::from(labels, {batch});
    context_ = {.training = true, .seed = 1, .step = 0, .examples = Tensor::from(examples, {batch})};
    images_ = Tensor::empty({batch, 1, c.size * c.size * 3});
    kernel::gaussian_noise(context_.examples, images_, RngAddress{3, 0, 0}, 0);
    images_ = images_.reshape(Shape{batch, c.size, c.size, 3});
  }

  double flops() const { return flops_; }

  /// Forward and backward; returns the loss.
  double gradients() {
    optimizer_->clear_grads();
    const Var phi = model_->backbone().forward(Var(images_), context_);
    const Var loss = model_->head().loss(phi, {.labels = labels_, .distributions = {}}, context_);
    loss.backward();
    return loss.value().item();
  }
  double step() {
    const double loss = gradients();
    optimizer_->step(0.01);
    return loss;
  }
  double gradient_norm() const {
    TensorList gradients;
    for (const NamedVar& p : model_->parameters()) gradients.push_back(p.var.grad());
    Tensor norm = Tensor::empty({1});
    kernel::global_norm(gradients, norm);
    return norm.item();
  }

 private:
  int64_t batch_;
  double flops_ = 0;
  std::unique_ptr<Classifier> model_;
  std::unique_ptr<Optimizer> optimizer_;
  Tensor images_, labels_;
  Context context_;
};

/// Largest relative difference of loss and gradient norm between the tuned kernels and the definitions.
double check(const StepCase& c) {
  Training tuned(c, 2), definition(c, 2);
  const double loss = tuned.gradients(), norm = tuned.gradient_norm();
  const ReferenceOnly scope;
  const double expected_loss = definition.gradients(), expected_norm = definition.gradient_norm();
  const double error = std::max(std::abs(loss / expected_loss - 1), std::abs(norm / expected_norm - 1));
  // Two f32 computations of a deep network in another order; batch norm over a batch of two amplifies rounding.
  require(error < 1e-2, "bench", c.name, ": tuned kernels give loss ", loss, " and gradient norm ", norm,
          ", the definitions ", expected_loss, " and ", expected_norm);
  return error;
}

Row run(const StepCase& c, const Settings& settings) {
  Row row{.name = c.name};
  row.error = check(c);
  Training training(c, c.batch);
  row.operations = training.flops();
  std::unique_ptr<Peer> peer;
  if (!settings.peer.empty()) {
    peer = std::make_unique<Peer>(std::vector<std::string>{
        settings.peer, settings.script, "--model", c.model, "--batch", std::to_string(c.batch), "--size",
        std::to_string(c.size), "--classes", std::to_string(c.classes), "--threads", std::to_string(settings.threads)});
    std::fprintf(stderr, "  %s: peer%s\n", c.name.c_str(), peer->info().c_str());
    peer->run(1);
  }
  training.step();
  std::vector<double> ours, theirs, ratios;
  for (int round = 0; round < settings.rounds; ++round) {
    ours.push_back(median_seconds([&] { training.step(); }, 2, 0));
    if (!peer) continue;
    theirs.push_back(median(peer->run(2)));
    ratios.push_back(theirs.back() / ours.back());
  }
  row.seconds = median(ours);
  if (peer) row.peer_seconds = median(theirs), row.ratio = median(ratios);
  return row;
}

}  // namespace

std::vector<Row> step_rows(const Settings& settings) {
  const std::vector<StepCase> cases = {
      {.name = "step ResNet-18 32x32 batch 64", .model = "resnet18", .stem = "cifar", .batch = 64, .size = 32},
      {.name = "step ViT-S/16 224x224 batch 16", .model = "vit-s", .stem = "", .batch = 16, .size = 224},
  };
  std::vector<Row> rows;
  for (const StepCase& c : cases)
    if (settings.wants(c.name)) rows.push_back(run(c, settings));
  return rows;
}

}  // namespace sked::bench
