#include "apps/common/contrastive.h"

#include <algorithm>

#include "apps/common/features.h"
#include "autograd/index.h"
#include "core/error.h"

namespace sked {
namespace {

/// The captions of a data set without its images: what an epoch over kept features walks through. Images are one black
/// pixel.
class CaptionsOnly final : public DatasetView {
 public:
  explicit CaptionsOnly(std::shared_ptr<const Dataset> base)
      : DatasetView(std::move(base)), pixel_(Tensor::zeros({1, 1, 1}, DType::u8)) {}

  Shape image_shape() const override { return {1, 1, 1}; }
  Tensor image(int64_t) const override { return pixel_; }
  bool encoded() const override { return false; }
  bool has_targets() const override { return false; }
  bool has_distributions() const override { return false; }

 private:
  Tensor pixel_;
};

constexpr const char* kPixel = "value_range(0,1)";  // its pipeline

/// What of a batch says which images it has: their indices where `features` are defined, else they themselves.
const Tensor& image_input(const Tensor& features, const Batch& batch) {
  return features.defined() ? batch.indices : batch.images;
}

/// φ (B,W) of that input on the device: rows of `features` where they are defined, else by the tower.
Var image_representation(TwoTowers& model, const Tensor& features, const Tensor& input, const Context& context) {
  return features.defined() ? embedding(Var(features), input) : model.image().forward(Var(input), context);
}

/// The embeddings of a data set's images, with what is known of each.
struct EmbeddedImages {
  Tensor embeddings, labels;  // f32 (N,D), i64 (N)
  std::vector<std::string> captions;
};

/// The captions of evaluations are drawn at the loader's seed 0: the same for every run.
EmbeddedImages embed_images(Towers& towers, const std::shared_ptr<const Dataset>& dataset, const RunConfig& config,
                            Device device, const Tensor& features) {
  const bool kept = features.defined();
  EmbeddedImages all{
      Tensor::empty({dataset->size(), config.contrast.width}), Tensor::empty({dataset->size()}, DType::i64), {}};
  int64_t done = 0;
  for_each_batch(
      kept ? std::make_shared<CaptionsOnly>(dataset) : dataset, kept ? kPixel : config.data.eval_pipeline,
      config.train.batch_size, config.data.skip_limit, [&](const Batch& batch) {
        const Var phi =
            image_representation(*towers.model, features, image_input(features, batch).to(device), Context{});
        const int64_t end = done + batch.indices.dim(0);
        all.embeddings.rows(done, end).copy_from(towers.model->head().embed_images(phi.value()).to(Device::cpu));
        all.labels.rows(done, end).copy_from(batch.labels);
        all.captions.insert(all.captions.end(), batch.captions.begin(), batch.captions.end());
        done = end;
      });
  return {all.embeddings.rows(0, done), all.labels.rows(0, done), all.captions};  // without what could not be read
}

/// Learned from the captions of one epoch and the prompts of the classes in training: the same for every seed.
Tokenizer learned_vocabulary(const Dataset& train, const ZeroShotClasses& classes, int64_t pieces) {
  std::vector<std::string> texts = captions_of(train, 0);
  for (size_t k = 0; k < classes.prompts.size(); ++k) {
    if (std::ranges::find(classes.unseen, static_cast<int64_t>(k)) == classes.unseen.end())
      texts.insert(texts.end(), classes.prompts[k].begin(), classes.prompts[k].end());
  }
  return Tokenizer::train(texts, pieces);
}

Tokenizer vocabulary_for(const RunConfig& config, const Dataset& train, const ZeroShotClasses& classes,
                         const Checkpoint* checkpoint) {
  if (checkpoint != nullptr) return vocabulary_of(checkpoint->file, checkpoint->path, config);
  if (!config.text.vocabulary.empty()) return Tokenizer::load(config.text.vocabulary);
  return learned_vocabulary(train, classes, config.text.pieces);
}

}  // namespace

ZeroShotClasses zero_shot_classes(const Dataset& data, const CaptionSpec& spec) {
  if (data.classes() == 0) return {};
  return {class_prompts(caption_templates(spec.templates), class_synonyms(spec, data)),
          unseen_classes(data.classes(), spec.unseen)};
}

Evaluation judge_zero_shot(Towers& towers, const std::shared_ptr<const Dataset>& dataset,
                           const ZeroShotClasses& classes, const RunConfig& config, Device device,
                           const Tensor& features) {
  EmbeddedImages images = embed_images(towers, dataset, config, device, features);
  const int64_t total = images.labels.dim(0);
  const int64_t pairs = std::min(config.contrast.retrieval, total);
  images.captions.resize(static_cast<size_t>(pairs));
  const Tensor captions = embed_captions(towers, images.captions, config, device);
  const bool labelled = !classes.prompts.empty();
  if (!labelled) images.labels = row_numbers(total, Device::cpu);

  Evaluation result;
  result.retrieval =
      retrieval(images.embeddings.rows(0, pairs), captions, images.labels.rows(0, pairs).to_vector<int64_t>());
  const Tensor targets = labelled ? embed_classes(towers, classes.prompts, config, device) : captions;
  const int64_t judged = labelled ? total : pairs;
  MetricsGatherer gatherer(targets.dim(0));
  UnseenGatherer unseen(targets.dim(0), classes.unseen);
  constexpr int64_t kRows = 256;
  for (int64_t first = 0; first < judged; first += kRows) {
    const int64_t end = std::min(first + kRows, judged);
    const Tensor p =
        zero_shot_probabilities(images.embeddings.rows(first, end), targets, towers.model->head().temperature());
    const Tensor labels = images.labels.rows(first, end);
    gatherer.add(p, labels);
    unseen.add(p, labels);
  }
  result.measures = gatherer.measures();
  result.unseen = unseen.measures();
  return result;
}

ContrastiveTask::ContrastiveTask(const RunConfig& config, Splits splits, Device device, const Checkpoint* checkpoint)
    : Task(config, with_captions(splits, config.captions), device),
      classes_(zero_shot_classes(*splits.test, config.captions)),
      towers_(
          make_towers(config, vocabulary_for(config, *splits_.train, classes_, checkpoint), prepared_shape(), device)) {
  if (!config.contrast.lock_image) return;
  require_usage(checkpoint != nullptr || !config.train.init.empty(), "config",
                "contrast.lock_image: expected a trained image tower, train.init (--init FILE), got none");
  require_usage(config.data.train_pipeline == config.data.eval_pipeline, "config",
                "contrast.lock_image: its images are prepared once: expected data.train_pipeline to be "
                "data.eval_pipeline, ",
                config.data.eval_pipeline, ", got ", config.data.train_pipeline);
  towers_.model->image().set_requires_grad(false);
}

InitialReport ContrastiveTask::begin_with(const TensorFile& file) {
  return load_initial(file, config_.train.init, towers_.model->image());
}

std::shared_ptr<const Dataset> ContrastiveTask::training_set() const {
  if (!config_.contrast.lock_image) return splits_.train;
  return std::make_shared<CaptionsOnly>(splits_.train);
}

std::string ContrastiveTask::training_pipeline() const {
  return config_.contrast.lock_image ? kPixel : config_.data.train_pipeline;
}

Tensor ContrastiveTask::features_of(const std::shared_ptr<const Dataset>& dataset) {
  return image_features(towers_.model->image(), dataset, config_, device_);
}

void ContrastiveTask::prepare() {
  if (!config_.contrast.lock_image) return;
  trained_on_ = features_of(splits_.train);
  if (holds_out()) held_out_ = features_of(splits_.validation);
  tested_on_ = features_of(splits_.test);
}

TensorList ContrastiveTask::inputs(const Batch& batch) const {
  const TokenBatch tokens = towers_.tokenizer.encode(batch.captions, config_.text.context, config_.text.truncate);
  return {image_input(trained_on_, batch), tokens.ids, tokens.ends};
}

Var ContrastiveTask::loss(const TensorList& inputs, const Context& context) {
  const Var phi = image_representation(*towers_.model, trained_on_, inputs[0], context);
  const Var psi = towers_.model->text().forward(inputs[1], inputs[2], context);
  return towers_.model->head().loss(phi, psi, context);
}

Evaluation ContrastiveTask::judge(Judging judging) {
  const bool held_out = judging == Judging::periodic && holds_out();
  return judge_zero_shot(towers_, judged_set(judging), classes_, config_, device_, held_out ? held_out_ : tested_on_);
}

void ContrastiveTask::describe(Summary& summary) const {
  summary.head = config_.contrast.kind;
  summary.link = "softmax";
  summary.params_head_extra = towers_.model->head().extra_parameters();
}

}  // namespace sked
