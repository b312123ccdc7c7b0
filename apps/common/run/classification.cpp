#include "apps/common/run/classification.h"

#include <algorithm>

#include "apps/common/measure/covariance.h"
#include "core/error.h"
#include "core/safetensors.h"
#include "data/feature_statistics.h"
#include "layers/models/features.h"

namespace sked {

ClassificationTask::ClassificationTask(const RunConfig& config, Splits splits, Device device, const Beginning& from,
                                       Communicator& ranks)
    : Task(config, std::move(splits), device, ranks),
      model_(make_classifier(config, prepared_shape(), splits_.train->classes(), device, ranks)) {
  require_usage(splits_.train->classes() > 0, "config", "data.name: ", config.data.name,
                " has captions and no classes: task contrastive trains on it");
  auto* features = dynamic_cast<Features*>(&model_->backbone());
  if (features != nullptr && features->standardizes() && from.checkpoint == nullptr) {
    const FeatureStatistics statistics = feature_statistics(*splits_.train);
    features->standardize_by(statistics.mean, statistics.deviation);
  }
  if (config.train.lock_backbone) lock(model_->backbone(), "train.lock_backbone", config.train.features, from);
}

InitialReport ClassificationTask::begin_with(const TensorFile& file) {
  if (locked()) {
    InitialReport report =
        load_initial(file, config_.train.init, model_->backbone(), {.partial = config_.train.init_partial});
    report.classifier = "the head is new: train.lock_backbone trains it alone";
    return report;
  }
  const std::optional<DataIdentity> data = identity_of(file, config_.train.init);
  InitialOptions options{.partial = config_.train.init_partial,
                         .head = config_.head,
                         .temperature = temperature(),
                         .class_names = splits_.train->class_names(),
                         .file_class_names = data ? data->classes : std::vector<std::string>{}};
  if (is_checkpoint(file)) options.file_head = config_of(file, config_.train.init).head;
  return load_initial(file, config_.train.init, *model_, options);
}

TensorList ClassificationTask::inputs(const Batch& batch) const {
  return {batch.images, batch.targets.defined() ? batch.targets : batch.labels};
}

Var ClassificationTask::loss(const TensorList& inputs, const Context& context) {
  Targets targets;
  (inputs[1].dtype() == DType::i64 ? targets.labels : targets.distributions) = inputs[1];
  const Var phi = representation(model_->backbone(), inputs[0], context);
  targets = with_values(targets, target_values(), splits_.train->classes(), phi.value());
  return model_->head().loss(phi, targets, context);
}

TargetValues ClassificationTask::target_values() const {
  const TrainConfig& t = config_.train;
  if (t.label_smoothing > 0) return label_smoothing(t.label_smoothing, splits_.train->classes());
  return {.on = t.on_value, .off = t.off_value};
}

Evaluation ClassificationTask::evaluate(EvaluationPoint point) {
  const int64_t most = config_.head.test_samples;
  return sked::evaluate(
      *model_, evaluation_set(point), config_,
      {.samples = point == EvaluationPoint::periodic ? std::min(config_.train.eval_samples, most) : most,
       .batch_size = config_.train.part_size(),
       .seed = config_.seed,
       .device = device_,
       .skip_limit = config_.data.corrupt_limit(),
       .on_skip = on_skip(),
       .representations = locked(),
       .ranks = &ranks_});
}

Tensor ClassificationTask::logit_correlation() {
  const std::shared_ptr<const Dataset>& images = evaluation_set(EvaluationPoint::final);
  const bool divided = config_.head.shard_classes && ranks_.size() > 1;
  if (config_.head.kind == HeadKind::det || divided || images->classes() > kMostCovariantClasses) return {};
  std::vector<int64_t> some = shuffled_order(images->size(), 0, 0);
  some.resize(static_cast<size_t>(std::min(images->size(), kSomeImages)));
  const PredictOptions options{.batch_size = config_.train.part_size(),
                               .seed = config_.seed,
                               .device = device_,
                               .skip_limit = config_.data.corrupt_limit(),
                               .on_skip = [](const Skipped&) {},  // the evaluation said so
                               .addresses = some,
                               .representations = locked(),
                               .ranks = &ranks_};
  CovarianceAccumulator sums;
  for_each_prediction(
      *model_, std::make_shared<Subset>(images, some), config_.data.eval_pipeline, options, [&](const Prediction& p) {
        sums.add(model_->head(), p.phi, kSomeSamples, config_.head.link == Link::sigmoid, p.context, p.rows);
      });
  const bool any = std::ranges::max(all_gather_number(ranks_, sums.images())) > 0;
  return any ? sums.result(ranks_).correlation : Tensor();
}

void ClassificationTask::describe(Summary& summary) const {
  summary.head = name_of(config_.head.kind);
  summary.link = name_of(config_.head.link);
  summary.noisy_share = splits_.noisy_share;
  summary.params_head_extra = model_->head().extra_parameters();
}

}  // namespace sked
