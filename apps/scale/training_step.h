#pragma once
// A classifier that trains on made images as one of several ranks, by the code that trains: timed, or counted in a dry
// run.

#include <cstdint>
#include <memory>

#include "autograd/gradient_sums.h"
#include "autograd/optimizer.h"
#include "core/communicator.h"
#include "layers/classifier.h"
#include "layers/heads/options.h"
#include "layers/models/options.h"

namespace sked::scale {

/// What is trained, and what of it is divided over the ranks beside the batch.
struct StepConfig {
  ModelConfig model;
  int64_t image = 224;  // edge of its images in pixels
  HeadConfig head = {};
  int64_t classes = 1000;
  OptimizerConfig optimizer = {.kind = OptimizerKind::adamw};
  DType activations = DType::f32;
};

class TrainingStep {
 public:
  /// `ranks` outlives it. Throws UsageError for a model that takes no images.
  TrainingStep(const StepConfig& config, Communicator& ranks, Init& init);

  /// A whole step, each rank having `images` images: the gradients of all, and the optimizer's step.
  void run(int64_t images);
  void update() { optimizer_->step(1e-3); }
  /// Of this rank: the backbone's φ (images,D), and the head's loss of them, on the tape.
  Var pre_logits(int64_t images);
  Var loss(const Var& phi);

  Classifier& model() { return *model_; }
  /// In all steps so far, at the end of backward passes for gradients of other ranks.
  double seconds_waited() const { return sums_ ? sums_->seconds_waited() : 0; }

 private:
  /// Of this rank's rows.
  Tensor labels(int64_t images) const;
  Context context(int64_t images) const;
  Tensor pixels(int64_t images);

  StepConfig config_;
  Communicator& ranks_;
  std::unique_ptr<Classifier> model_;
  std::unique_ptr<Optimizer> optimizer_;
  std::unique_ptr<GradientSums> sums_;  // of several ranks
  Tensor pixels_;
};

}  // namespace sked::scale
