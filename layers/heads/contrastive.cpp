#include "layers/heads/contrastive.h"

#include "autograd/elementwise.h"
#include "autograd/index.h"
#include "autograd/l2_normalize.h"
#include "autograd/matmul.h"
#include "autograd/reduce.h"
#include "autograd/shape.h"
#include "autograd/softmax.h"
#include "layers/heads/options.h"

namespace sked {

namespace {

constexpr int64_t kMaxWidth = 1 << 16;

/// The settings that it shares with the heads of classifiers.
HeadConfig as_head(const ContrastConfig& c) {
  HeadConfig head;
  head.factors = c.factors;
  head.rank = c.rank;
  head.train_samples = c.train_samples;
  head.likelihood = c.likelihood;
  head.learn_temperature = c.learn_temperature;
  head.temperature = c.temperature;
  head.temperature_lo = c.temperature_lo;
  head.temperature_hi = c.temperature_hi;
  head.noise_init_scale = c.noise_init_scale;
  return head;
}

/// The configuration itself, once it has passed.
const ContrastConfig& checked(const ContrastConfig& c, int64_t image_width, int64_t text_width) {
  const HeadConfig head = as_head(c);
  require_usage(image_width >= 1 && text_width >= 1, "contrast", "expected towers of width 1 or more, got ",
                image_width, " (images) and ", text_width, " (texts)");
  require_usage(c.width >= 1 && c.width <= kMaxWidth, "contrast.width", "expected 1 to ", kMaxWidth, ", got ", c.width);
  detail::position(c.kind, {"det", "het-xl"}, "contrast.kind");
  detail::position(c.noise, {"before", "after"}, "contrast.noise");
  detail::position(c.likelihood, {"streaming", "composed"}, "contrast.likelihood");
  const Factors factors = detail::factors_of(head, "contrast");
  detail::check_temperature(head, "contrast");
  if (c.kind != "det") detail::check_noise(head, factors, c.width, "contrast");
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

/// −log p of row i's own column i: u (B,S,B) -> (B).
Var own_nll(const Var& u) { return -logmeanexp(pick(log_softmax(u), row_numbers(u.dim(0), u.device())), 1); }

}  // namespace

ContrastiveHead::ContrastiveHead(const ContrastConfig& config, int64_t image_width, int64_t text_width, Init& init)
    : image_width_(image_width),
      text_width_(text_width),
      samples_(checked(config, image_width, text_width).kind == "det" ? 1 : config.train_samples),
      composed_(config.likelihood == "composed"),
      before_(config.kind != "det" && config.noise == "before"),
      image_projection_(init.lecun_normal({config.width, image_width})),
      text_projection_(init.lecun_normal({config.width, text_width})),
      temperature_(as_head(config), init) {
  add("image_projection", image_projection_);
  add("text_projection", text_projection_);
  add("temperature", temperature_);
  if (config.kind == "det") return;
  const Factors factors = detail::factors_of(as_head(config), "contrast");
  noise_ = std::make_unique<GaussianNoise>(factors, config.width, config.width, config.rank, config.noise_init_scale,
                                           init, config.antithetic);
  add("noise", *noise_);
}

Var ContrastiveHead::loss(const Var& image, const Var& text, const Context& context) {
  check(image, image_width_, "images");
  check(text, text_width_, "texts");
  require(image.dim(0) == text.dim(0), "contrast", "expected as many texts as images, got ", text.value(), " and ",
          image.value());
  const Var phi = image_projection_.forward(image);  // (B,D)
  const Var texts = l2_normalize(text_projection_.forward(text)) / temperature_.var(phi);
  if (composed_) return composed_contrastive(samples(phi, context), texts);
  return mean(streaming_contrastive(logits(phi, texts, context)));
}

SampledLogits ContrastiveHead::logits(const Var& phi, const Var& texts, const Context& context) const {
  SampledLogits a;
  a.center = before_ ? phi : l2_normalize(phi);
  a.normalize = before_;
  a.weight = texts;
  a.samples = samples_;
  if (!noise_) return a;
  const std::vector<Var> scales = noise_->scales(phi);
  a.d = scales[0];
  if (scales.size() == 2) a.factors = scales[1];                   // V(x)
  if (scales.size() == 3) a.v = scales[1], a.factors = scales[2];  // v(x), V
  a.noise = noise_->source(context, phi.dim(0));
  return a;
}

Var ContrastiveHead::samples(const Var& phi, const Context& context) const {
  const Var center = reshape(before_ ? phi : l2_normalize(phi), {phi.dim(0), 1, phi.dim(1)});
  if (!noise_) return center;
  const Var z = center + noise_->draw(noise_->scales(phi), context, 0, samples_);
  return before_ ? l2_normalize(z) : z;
}

Tensor ContrastiveHead::embed_images(const Tensor& image) { return embed(image_projection_, image); }
Tensor ContrastiveHead::embed_texts(const Tensor& text) { return embed(text_projection_, text); }

int64_t ContrastiveHead::extra_parameters() const {
  return parameter_count() - image_projection_.parameter_count() - text_projection_.parameter_count();
}

Var composed_contrastive(const Var& z, const Var& texts) {
  const Var u = linear(z, texts);  // (B,S,B): image, sample, text
  return mean(own_nll(u) + own_nll(permute(u, {2, 1, 0}))) / 2.0;
}

}  // namespace sked
