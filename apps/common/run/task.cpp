#include "apps/common/run/task.h"

#include <algorithm>

#include "apps/common/config/progress.h"
#include "core/error.h"
#include "core/kernels/index.h"
#include "core/precision.h"
#include "data/loader.h"

namespace sked {

Task::Task(const RunConfig& config, Splits splits, Device device, Communicator& ranks)
    : config_(config),
      device_(device),
      ranks_(ranks),
      splits_(std::move(splits)),
      values_(Pipeline::parse(config.data.train_pipeline).values().to(device)) {}

Loader Task::training_loader(std::function<void(const Skipped&)> on_skip, int64_t parts) const {
  return Loader(splits_.train, Pipeline::parse(locked() ? kDefaultPipeline : config_.data.train_pipeline),
                {.batch_size = std::min(config_.train.batch_size, splits_.train->size()),
                 .seed = config_.seed,
                 .shuffle = true,
                 .drop_last = true,
                 .threads = static_cast<int>(config_.train.loader_threads),
                 .bytes = device_ != Device::cpu,
                 .skip_limit = config_.data.corrupt_limit(),
                 .on_skip = std::move(on_skip),
                 .parts = parts,
                 .rank = ranks_.rank(),
                 .ranks = ranks_.size()});
}

std::function<void(const Skipped&)> Task::on_skip() const {
  if (!say_) return {};
  return [say = say_](const Skipped& s) { say("left out: " + s.message); };
}

void Task::lock(Backbone& tower, const std::string& key, const std::string& folder, const Beginning& from) {
  require_usage(from.checkpoint != nullptr || !config_.train.init.empty(), "config", key,
                ": expected a trained image tower, train.init (--init FILE), got none");
  require_usage(config_.data.train_pipeline == config_.data.eval_pipeline, "config", key,
                ": its images are prepared once: expected data.train_pipeline to be data.eval_pipeline, ",
                config_.data.eval_pipeline, ", got ", config_.data.train_pipeline);
  tower.set_requires_grad(false);
  locked_ = &tower;
  features_folder_ = folder;
  for (std::shared_ptr<const Dataset>* images : {&splits_.train, &splits_.validation, &splits_.test}) {
    if (*images == nullptr) continue;
    kept_.push_back(std::make_shared<KeptFeatures>(*images, tower.width()));
    *images = kept_.back();
  }
}

void Task::prepare() {
  for (const auto& split : kept_)
    split->keep(image_features(*locked_, split->images(), config_, features_folder_, device_, say_, ranks_));
}

Var Task::representation(Backbone& tower, const Tensor& images, const Context& context) const {
  return locked() ? Var(images) : tower.forward(network_input(images, context), context);
}

Var Task::network_input(const Tensor& images, const Context& context) const {
  if (images.dtype() != DType::u8) return Var(images);
  Tensor pixels = Tensor::empty(images.shape(), context.activations, images.device());
  kernel::look_up(images, values_, pixels);
  return Var(pixels);
}

Shape Task::prepared_shape() const {
  const Shape trained = Pipeline::parse(config_.data.train_pipeline).output_shape(splits_.train->image_shape());
  const Pipeline evaluation = evaluation_pipeline(config_.data.eval_pipeline);
  evaluation.check(*splits_.test);
  const Shape evaluated = evaluation.output_shape(splits_.test->image_shape());
  require_usage(evaluated == trained, "config", "data.eval_pipeline: expected images of ", trained,
                ", as data.train_pipeline makes, got ", evaluated);
  return trained;
}

void say_notes(const Splits& splits) {
  for (const std::string& line : splits.notes) note(line);
}

/// The first images of every split are read once, up to one that can be used: what is wrong with all of them is known
/// before training, not after.
static void check_first_images(const Splits& splits, const RunConfig& config) {
  constexpr int64_t kFirst = 8;
  for (const auto& images : {splits.train, splits.validation, splits.test}) {
    if (images == nullptr || !images->encoded() || images->size() == 0) continue;
    const bool trained = images == splits.train;
    Loader loader(
        images, trained ? Pipeline::parse(config.data.train_pipeline) : evaluation_pipeline(config.data.eval_pipeline),
        {.batch_size = kFirst, .shuffle = false, .threads = 0, .skip_limit = config.data.corrupt_limit()});
    loader.start(0);
    while (loader.next().value().images.dim(0) == 0) {  // the last batch of an epoch without an image is refused
    }
  }
}

Splits load_data(const RunConfig& config) {
  Splits splits = load_splits(config.data, config.data.validation, config.data.train_subset);
  say_notes(splits);
  require_usage(splits.train->size() > 0, "config", "data: no training image is left beside ", config.data.validation,
                " for validation");
  require_usage(splits.test->size() > 0, "config", "data: ", config.data.name,
                " has no test images: a trained model could not be measured");
  require_usage(!splits.without_test || config.task == TaskKind::classification, "config", "data: ", config.data.path,
                " has no test images, which task contrastive is measured on");
  check_first_images(splits, config);
  return splits;
}

}  // namespace sked
