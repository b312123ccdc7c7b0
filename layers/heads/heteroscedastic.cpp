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
      likelihood_(link, config.sample_chunk),
      noise_(factors, width, kind == HeadKind::het ? classes : width, config.rank, config.noise_init_scale, init) {
  add("noise", noise_);
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
    // The whole difference: HET's center is the logits W φ + b, HET-XL's the pre-logits φ with the classifier to come.
    const Var u = kind_ == HeadKind::het ? center + eps : linear(center + eps, w, b);
    return u / tau;
  };
}

Var Heteroscedastic::loss(const Var& phi, const Targets& targets, const Context& context) {
  check(phi);
  check_targets(targets, phi.dim(0), classes());
  return likelihood_.loss(sampled(context), inputs(phi), train_samples_, targets);
}

Tensor Heteroscedastic::predict(const Tensor& phi, int64_t samples, const Context& context) {
  if (samples == 0) return Deterministic::predict(phi, 0, context);
  require(samples > 0, "head", "expected 0 or more samples, got ", samples);
  const NoGrad off;
  check(Var(phi));
  const int64_t j = noise_.coordinates();
  const int64_t per_row = std::max(std::min(likelihood_.chunk(), samples) * std::max(j, classes()), j * noise_.rank());
  const int64_t block = std::max<int64_t>(1, kPredictElements / per_row);
  Tensor p = Tensor::empty({phi.dim(0), classes()}, phi.dtype(), phi.device());
  for (int64_t begin = 0; begin < phi.dim(0); begin += block) {
    const int64_t end = std::min(begin + block, phi.dim(0));
    Context rows = context;
    rows.training = false;  // the noise of predictions
    if (context.examples.defined()) rows.examples = context.examples.rows(begin, end);
    p.rows(begin, end).copy_from(likelihood_.predict(sampled(rows), inputs(Var(phi.rows(begin, end))), samples));
  }
  return p;
}

Tensor Heteroscedastic::noise_scale(const Tensor& phi) {
  const NoGrad off;
  check(Var(phi));
  return mean(sqrt(Var(noise_.variance(phi))), 1).value();
}

}  // namespace sked
