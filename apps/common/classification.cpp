#include "apps/common/classification.h"

#include <algorithm>

#include "core/error.h"
#include "core/safetensors.h"

namespace sked {

ClassificationTask::ClassificationTask(const RunConfig& config, Splits splits, Device device)
    : Task(config, std::move(splits), device),
      model_(make_classifier(config, prepared_shape(), splits_.train->classes(), device)) {
  require_usage(splits_.train->classes() > 0, "config", "data.name: ", config.data.name,
                " has captions and no classes: task contrastive trains on it");
}

InitialReport ClassificationTask::begin_with(const TensorFile& file) {
  return load_initial(file, config_.train.init, *model_);
}

Var ClassificationTask::loss(const Batch& batch, const Context& context) {
  Targets targets;
  if (batch.targets.defined()) {
    targets.distributions = batch.targets.to(device_);
  } else {
    targets.labels = batch.labels.to(device_);
  }
  const Var phi = model_->backbone().forward(Var(batch.images.to(device_)), context);
  return model_->head().loss(phi, targets, context);
}

Evaluation ClassificationTask::judge(Judging judging) {
  const int64_t most = config_.head.test_samples;
  return evaluate(*model_, judged_set(judging), config_,
                  {.samples = judging == Judging::periodic ? std::min(config_.train.eval_samples, most) : most,
                   .batch_size = config_.train.batch_size,
                   .seed = config_.seed,
                   .device = device_,
                   .skip_limit = config_.data.skip_limit});
}

void ClassificationTask::describe(Summary& summary) const {
  summary.head = config_.head.kind;
  summary.link = config_.head.link;
  summary.noisy_share = splits_.noisy_share;
  summary.params_head_extra = model_->head().extra_parameters();
}

}  // namespace sked
