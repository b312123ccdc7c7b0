#pragma once
// What the trainer trains: data, a model, its loss on a batch, and how it is evaluated.

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "apps/common/config/config.h"
#include "apps/common/config/progress.h"
#include "apps/common/measure/evaluation.h"
#include "apps/common/measure/features.h"
#include "apps/common/measure/summary.h"
#include "apps/common/run/checkpoint.h"
#include "apps/common/run/initial.h"
#include "data/loader.h"
#include "layers/backbone.h"

namespace sked {

/// Which images a task is evaluated on, and how closely.
enum class EvaluationPoint {
  periodic,  // those held out from training, or the test images where none are
  final      // the test images
};

/// What a training goes on from, or else the file of train.init that it begins with; null where there is none.
struct Beginning {
  const Checkpoint* checkpoint = nullptr;
  const TensorFile* initial = nullptr;
};

/// One kind of learning. The trainer owns the steps, the checkpoints, the log and the progress; a task knows what a
/// batch means.
class Task {
 public:
  virtual ~Task() = default;
  Task(const Task&) = delete;
  Task& operator=(const Task&) = delete;

  /// What the epochs iterate over.
  const std::shared_ptr<const Dataset>& training_set() const { return splits_.train; }
  /// This rank's share of shuffled batches in so many parts. A short last batch of an epoch is left out: batch
  /// statistics of few images are noise. Bytes cross to other devices.
  Loader training_loader(std::function<void(const Skipped&)> on_skip, int64_t parts = 1) const;
  /// Who trains it.
  Communicator& ranks() const { return ranks_; }
  bool holds_out() const { return splits_.validation != nullptr; }
  /// Are there test images? Without, those held out are measured in the end.
  bool has_test() const { return !splits_.without_test; }
  const Splits& splits() const { return splits_; }

  virtual Module& model() = 0;
  /// Begins with the weights of train.init, by name.
  virtual InitialReport begin_with(const TensorFile& file) = 0;
  /// From here on `say` is told of images that evaluations leave out, and of work that takes long; before, stderr is.
  void tell(Say say) { say_ = std::move(say); }
  /// Called once, by all ranks, when the weights are those training begins with or goes on from: computes what a locked
  /// network makes of the images, or reads it where it was kept.
  void prepare();

  /// What the loss reads of a batch, on the CPU: always as many tensors, in a fixed order. Images may be bytes.
  virtual TensorList inputs(const Batch& batch) const = 0;
  /// Mean loss of a batch, or of this rank's rows of it, shape (), from its inputs() on the task's device. What changes
  /// from step to step comes by way of `inputs` and `context` alone, so that the step can be recorded
  /// (gradient_step.h).
  virtual Var loss(const TensorList& inputs, const Context& context) = 0;
  virtual double temperature() const = 0;
  virtual bool learns_temperature() const = 0;

  /// The model as it is, by all ranks together. Throws Interrupted on Ctrl-C.
  virtual Evaluation evaluate(EvaluationPoint point) = 0;
  /// f32 (K,K): how the noise moves the classes' logits together (covariance.h), over some of the images of the final
  /// evaluation; undefined for a head without noise, or of too many classes. Throws Interrupted on Ctrl-C.
  virtual Tensor logit_correlation() { return {}; }
  /// What makes φ of images: what few-shot classification asks.
  virtual Backbone& tower() = 0;
  /// Fills in head, link, params_head_extra and what else only the task knows.
  virtual void describe(Summary& summary) const = 0;

 protected:
  Task(const RunConfig& config, Splits splits, Device device, Communicator& ranks);
  /// `tower` stays as train.init made it: what it makes of every image, without augmentation, takes the place of the
  /// images and is kept in `folder`. `key` asks for it. Throws UsageError where nothing is begun with, or
  /// data.train_pipeline is not data.eval_pipeline.
  void lock(Backbone& tower, const std::string& key, const std::string& folder, const Beginning& from);
  bool locked() const { return locked_ != nullptr; }
  /// φ (B,D) of the images of a batch, inputs()[…] of it on the device, by `tower`; where that is locked they are it.
  Var representation(Backbone& tower, const Tensor& images, const Context& context) const;
  /// Images of a batch on the device as networks take them: where they are bytes, what the training pipeline makes of
  /// those, looked up there in context.activations.
  Var network_input(const Tensor& images, const Context& context) const;
  /// (H,W,C) of what the training pipeline makes. Throws UsageError where the evaluations' makes something else: they
  /// are used late, and what would fail then is refused now.
  Shape prepared_shape() const;
  const std::shared_ptr<const Dataset>& evaluation_set(EvaluationPoint point) const {
    return point == EvaluationPoint::periodic && holds_out() ? splits_.validation : splits_.test;
  }

  /// What evaluations are given to say which images they leave out.
  std::function<void(const Skipped&)> on_skip() const;

  const RunConfig config_;
  const Device device_;
  Communicator& ranks_;
  Splits splits_;
  Say say_;

 private:
  const Tensor values_;  // of the training pipeline's bytes, on the device
  Backbone* locked_ = nullptr;
  std::string features_folder_;
  std::vector<std::shared_ptr<KeptFeatures>> kept_;  // the splits
};

/// Says on stderr what there is to say about data that was loaded.
void say_notes(const Splits& splits);

/// The data of a configuration, its notes said. Throws UsageError where no training image is left, or there is no image
/// to measure on.
Splits load_data(const RunConfig& config);

}  // namespace sked
