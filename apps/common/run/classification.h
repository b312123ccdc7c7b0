#pragma once
// Classification: a backbone with a DET, HET or HET-XL head.

#include "apps/common/run/task.h"
#include "layers/classifier.h"

namespace sked {

class ClassificationTask final : public Task {
 public:
  ClassificationTask(const RunConfig& config, Splits splits, Device device, const Beginning& from, Communicator& ranks);

  Module& model() override { return *model_; }
  InitialReport begin_with(const TensorFile& file) override;
  /// Images, or φ where that is kept, and labels or distributions.
  TensorList inputs(const Batch& batch) const override;
  Var loss(const TensorList& inputs, const Context& context) override;
  double temperature() const override { return model_->head().temperature(); }
  bool learns_temperature() const override { return config_.head.temperature.learn; }
  Evaluation evaluate(EvaluationPoint point) override;
  Tensor logit_correlation() override;
  Backbone& tower() override { return model_->backbone(); }
  void describe(Summary& summary) const override;

 private:
  /// What train.label_smoothing, or train.on_value and train.off_value, make of the targets.
  TargetValues target_values() const;

  std::unique_ptr<Classifier> model_;
};

}  // namespace sked
