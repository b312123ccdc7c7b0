#include "layers/heads/contrastive.h"

#include "autograd/collective.h"
#include "autograd/elementwise.h"
#include "autograd/l2_normalize.h"
#include "autograd/reduce.h"
#include "layers/heads/composed.h"
#include "layers/heads/streaming.h"

namespace sked {

namespace {

constexpr int64_t kMaxWidth = 1 << 16;

/// The configuration itself, once what is not the noise's or the temperature's has passed.
const ContrastConfig& checked(const ContrastConfig& c, int64_t image_width, int64_t text_width) {
  require_usage(image_width >= 1 && text_width >= 1, "contrast", "expected towers of width 1 or more, got ",
                image_width, " (images) and ", text_width, " (texts)");
  require_usage(c.width >= 1 && c.width <= kMaxWidth, "contrast.width", "expected 1 to ", kMaxWidth, ", got ", c.width);
  require_usage(c.kind == ContrastKind::det || (c.train_samples >= 1 && c.train_samples <= kMostSamples),
                "contrast.train_samples", "expected 1 to ", kMostSamples, ", got ", c.train_samples);
  return c;
}

void check(const Var& x, int64_t width, const char* what) {
  require(x.ndim() == 2 && x.dim(0) >= 1 && x.dim(1) == width, "contrast", "expected ", what, " (B, ", width,
          ") with B >= 1, got ", x.value());
}

Tensor embed(const Linear& projection, const Tensor& x) {
  const NoGrad off;
  return l2_normalize(projection.forward(Var(x))).value();
}

}  // namespace

ContrastiveHead::ContrastiveHead(const ContrastConfig& config, int64_t image_width, int64_t text_width, Init& init)
    : image_width_(image_width),
      text_width_(text_width),
      samples_(checked(config, image_width, text_width).kind == ContrastKind::det ? 1 : config.train_samples),
      composed_(config.likelihood == Likelihood::composed),
      before_(config.kind != ContrastKind::det && config.noise_place == ContrastNoise::before),
      image_projection_(init.lecun_normal({config.width, image_width})),
      text_projection_(init.lecun_normal({config.width, text_width})),
      temperature_(config.temperature, "contrast", init) {
  add("image_projection", image_projection_);
  add("text_projection", text_projection_);
  add("temperature", temperature_);
  if (config.kind == ContrastKind::det) return;
  noise_ = std::make_unique<GaussianNoise>(config.noise, "contrast", config.width, config.width, init);
  add("noise", *noise_);
}

Var ContrastiveHead::loss(const Var& image, const Var& text, const Context& context) {
  check(image, image_width_, "images");
  check(text, text_width_, "texts");
  require(image.dim(0) == text.dim(0), "contrast", "expected as many texts as images, got ", text.value(), " and ",
          image.value());
  const Var phi = image_projection_.forward(image);  // (B,D)
  const Var texts = l2_normalize(text_projection_.forward(text)) / temperature_.var(phi);
  Communicator* const ranks = context.ranks && context.ranks->size() > 1 ? context.ranks : nullptr;
  const RankRows rows(ranks, phi.dim(0));
  Context whole = context;
  if (noise_) {
    check_examples(context, phi.dim(0));
    whole.examples = rows.all(context.examples);
  }
  const Var images = rows.all(phi);
  // Every rank has the whole loss on its tape and takes its weight of it: they sum to one.
  if (composed_) return mean(composed_contrastive(logits(images, rows.all(texts), whole)));
  SampledLogits a = logits(images, texts, whole);
  a.shard = {ranks, rows.own(), rows.total()};
  return all_reduce_gradient(mean(streaming_contrastive(a)), ranks ? *ranks : alone());
}

SampledLogits ContrastiveHead::logits(const Var& phi, const Var& texts, const Context& context) const {
  SampledLogits a;
  a.center = before_ ? phi : l2_normalize(phi);
  a.normalize = before_;
  a.weight = texts;
  a.samples = samples_;
  if (!noise_) return a;
  a.scales = noise_->scales(phi);
  if (const Var mean = noise_->mean(a.scales); mean.defined()) a.center = a.center + mean;
  a.noise = noise_->source(context, phi.dim(0));
  return a;
}

Tensor ContrastiveHead::embed_images(const Tensor& image) { return embed(image_projection_, image); }
Tensor ContrastiveHead::embed_texts(const Tensor& text) { return embed(text_projection_, text); }

int64_t ContrastiveHead::extra_parameters() const {
  return parameter_count() - image_projection_.parameter_count() - text_projection_.parameter_count();
}

}  // namespace sked
