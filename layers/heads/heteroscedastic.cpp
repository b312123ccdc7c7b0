#include "layers/heads/heteroscedastic.h"

#include <algorithm>

#include "autograd/elementwise.h"
#include "autograd/matmul.h"
#include "autograd/reduce.h"
#include "autograd/shape.h"

namespace sked {

namespace {

/// Elements of the largest tensor a prediction holds (64 MiB of f32): more rows than fit are predicted in blocks.
constexpr int64_t kPredictElements = int64_t{1} << 24;

}  // namespace

Heteroscedastic::Heteroscedastic(const HeadConfig& config, HeadKind kind, Factors factors, Link link, int64_t width,
                                 int64_t classes, Init& init)
    : Deterministic(config, link, width, classes, init),
      kind_(kind),
      train_samples_(config.train_samples),
      composed_(config.likelihood == "composed"),
      likelihood_(link, config.antithetic ? config.sample_chunk + config.sample_chunk % 2 : config.sample_chunk),
      noise_(factors, width, kind == HeadKind::het ? classes : width, config.rank, config.noise_init_scale, init,
             config.antithetic) {
  add("noise", noise_);
}

SampledLogits Heteroscedastic::logits(const Var& phi, int64_t samples, const Context& context) const {
  const Var tau = temperature_.var(phi);
  const std::vector<Var> scales = noise_.scales(phi);
  SampledLogits a;
  // The whole difference: HET's noise is around the logits W φ + b, HET-XL's around φ, with the classifier to come.
  if (kind_ == HeadKind::het) {
    a.center = linear(phi, weight_, bias_) / tau;
  } else {
    a.center = phi / tau;
    a.weight = weight_;
    a.bias = bias_ / tau;
  }
  a.d = scales[0] / tau;
  if (scales.size() == 2) a.factors = scales[1] / tau;                   // V(x)
  if (scales.size() == 3) a.v = scales[1] / tau, a.factors = scales[2];  // v(x), V
  a.noise = noise_.source(context, phi.dim(0));
  a.samples = samples;
  return a;
}

std::vector<Var> Heteroscedastic::inputs(const Var& phi) const {
  const Var center = kind_ == HeadKind::het ? linear(phi, weight_, bias_) : phi;  // (B,J): what the noise is added to
  std::vector<Var> all = {reshape(center, {center.dim(0), 1, center.dim(1)}), weight_, bias_, temperature_.var(phi)};
  for (const Var& scale : noise_.scales(phi)) all.push_back(scale);
  return all;
}

SampleChunk Heteroscedastic::sampled(const Context& context) const {
  return [this, context](const std::vector<Var>& inputs, int64_t first, int64_t count) {
    const Var &center = inputs[0], &w = inputs[1], &b = inputs[2], &tau = inputs[3];
    const Var eps = noise_.draw({inputs.begin() + 4, inputs.end()}, context, first, count);  // (B,C,J)
    const Var u = kind_ == HeadKind::het ? center + eps : linear(center + eps, w, b);
    return u / tau;
  };
}

Var Heteroscedastic::loss(const Var& phi, const Targets& targets, const Context& context) {
  check(phi);
  check_targets(targets, phi.dim(0), classes());
  if (composed_) return likelihood_.loss(sampled(context), inputs(phi), train_samples_, targets);
  return streaming_loss(link_, logits(phi, train_samples_, context), targets);
}

Tensor Heteroscedastic::predict(const Tensor& phi, int64_t samples, const Context& context) {
  if (samples == 0) return Deterministic::predict(phi, 0, context);
  require(samples > 0, "head", "expected 0 or more samples, got ", samples);
  const NoGrad off;
  check(Var(phi));
  const int64_t j = noise_.coordinates();
  const int64_t at_once = composed_ ? std::min(likelihood_.chunk(), samples) : 1;
  const int64_t per_row = std::max(at_once * std::max(j, classes()), j * noise_.rank());
  const int64_t block = std::max<int64_t>(1, kPredictElements / per_row);
  Tensor p = Tensor::empty({phi.dim(0), classes()}, phi.dtype(), phi.device());
  for (int64_t begin = 0; begin < phi.dim(0); begin += block) {
    const int64_t end = std::min(begin + block, phi.dim(0));
    Context rows = context;
    rows.training = false;  // the noise of predictions
    if (context.examples.defined()) rows.examples = context.examples.rows(begin, end);
    const Var part(phi.rows(begin, end));
    p.rows(begin, end)
        .copy_from(composed_ ? likelihood_.predict(sampled(rows), inputs(part), samples)
                             : streaming_predict(link_, logits(part, samples, rows)));
  }
  return p;
}

Tensor Heteroscedastic::noise_scale(const Tensor& phi) {
  const NoGrad off;
  check(Var(phi));
  return mean(sqrt(Var(noise_.variance(phi))), 1).value();
}

}  // namespace sked
