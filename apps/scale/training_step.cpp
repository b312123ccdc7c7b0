#include "apps/scale/training_step.h"

#include "autograd/elementwise.h"
#include "core/kernels/random.h"
#include "layers/heads/make_head.h"
#include "layers/models/model.h"

namespace sked::scale {

TrainingStep::TrainingStep(const StepConfig& config, Communicator& ranks, Init& init) : config_(config), ranks_(ranks) {
  auto backbone = make_backbone(config.model, {config.image, config.image, 3}, init);
  const int64_t width = backbone->width();
  model_ =
      std::make_unique<Classifier>(std::move(backbone), make_head(config.head, width, config.classes, init, ranks));
  optimizer_ = std::make_unique<Optimizer>(config.optimizer, model_->parameters(), std::vector<double>{}, ranks);
  if (ranks.size() > 1) sums_ = std::make_unique<GradientSums>(model_->parameters(), ranks);
}

void TrainingStep::run(int64_t images) {
  optimizer_->clear_grads();
  const Var mean = loss(pre_logits(images));
  if (sums_)
    sums_->backward(mean / static_cast<double>(ranks_.size()));
  else
    mean.backward();
  update();
}

Var TrainingStep::pre_logits(int64_t images) {
  return model_->backbone().forward(Var(pixels(images)), context(images));
}

Var TrainingStep::loss(const Var& phi) {
  return model_->head().loss(phi, {labels(phi.dim(0)), {}}, context(phi.dim(0)));
}

/// Normal, and made once.
Tensor TrainingStep::pixels(int64_t images) {
  const int64_t edge = config_.image;
  if (!pixels_.defined() || pixels_.dim(0) != images) {
    pixels_ = Tensor::empty({images, 1, edge * edge * 3});
    kernel::gaussian_noise(context(images).examples, pixels_, RngAddress{3, 0, 0}, 0);
    pixels_ = pixels_.reshape(Shape{images, edge, edge, 3});
  }
  return pixels_;
}

Tensor TrainingStep::labels(int64_t images) const {
  Tensor labels = Tensor::empty({images}, DType::i64);
  for (int64_t i = 0; i < images; ++i) labels.data<int64_t>()[i] = (ranks_.rank() * images + i) * 37 % config_.classes;
  return labels;
}

Context TrainingStep::context(int64_t images) const {
  Tensor examples = Tensor::empty({images}, DType::i64);
  for (int64_t i = 0; i < images; ++i) examples.data<int64_t>()[i] = ranks_.rank() * images + i;
  return {.training = true,
          .seed = 1,
          .examples = examples,
          .activations = config_.activations,
          .first_row = ranks_.rank() * images,
          .ranks = ranks_.size() > 1 ? &ranks_ : nullptr};
}

}  // namespace sked::scale
