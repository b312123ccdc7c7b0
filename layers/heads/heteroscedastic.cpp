#include "layers/heads/heteroscedastic.h"

#include <algorithm>

#include "autograd/elementwise.h"
#include "autograd/matmul.h"
#include "autograd/reduce.h"
#include "layers/heads/composed.h"
#include "layers/heads/streaming.h"

namespace sked {

namespace {

/// Elements of the largest tensor a prediction holds (64 MiB of f32): more rows than fit are predicted in blocks.
constexpr int64_t kPredictElements = int64_t{1} << 24;

/// Of the noise over τ. V(x) is proportional to v(x), or is itself what depends on x.
NoiseScales divided(NoiseScales scales, const Var& tau) {
  scales.d = scales.d / tau;
  if (scales.v.defined()) {
    scales.v = scales.v / tau;
  } else if (scales.factors.defined()) {
    scales.factors = scales.factors / tau;
  }
  return scales;
}

}  // namespace

Heteroscedastic::Heteroscedastic(const HeadConfig& config, int64_t width, const ClassShard& classes, Init& init)
    : ClassifierHead(config, width, classes, init),
      kind_(config.kind),
      train_samples_(config.train_samples),
      chunk_(config.sample_chunk),
      composed_(config.likelihood == Likelihood::composed),
      noise_(config.noise, "head", width, noisy_coordinates(), init) {
  add("noise", noise_);
}

SampledLogits Heteroscedastic::before_noise(const Var& phi) const {
  if (kind_ == HeadKind::het) return {.center = linear(phi, weight_, bias_)};
  return {.center = phi, .weight = weight_, .bias = bias_};  // HET-XL
}

ClassShard Heteroscedastic::noisy_coordinates() const {
  const NoGrad off;
  const SampledLogits a = before_noise(Var(Tensor::empty({0, weight_.dim(1)}, weight_.dtype(), weight_.device())));
  return a.weight.defined() ? ClassShard(a.center.dim(1)) : shard();
}

SampledLogits Heteroscedastic::logits(const Var& phi, int64_t samples, const Context& context) const {
  const Var tau = temperature_.var(phi);
  const NoiseScales scales = noise_.scales(phi);
  SampledLogits a = before_noise(phi);
  if (const Var mean = noise_.mean(scales); mean.defined()) a.center = a.center + mean;
  a.center = a.center / tau;
  if (a.bias.defined()) a.bias = a.bias / tau;
  a.scales = divided(scales, tau);
  a.noise = noise_.source(context, phi.dim(0));
  a.samples = samples;
  a.shard = shard();
  return a;
}

Var Heteroscedastic::loss(const Var& phi, const Targets& targets, const Context& context) {
  check(phi);
  check_targets(targets, phi.dim(0), classes());
  if (composed_) return composed_loss(link_, logits(phi, train_samples_, context), targets, chunk_);
  check_examples(context, phi.dim(0));
  const RankRows rows = rows_of(phi.value());
  Context whole = context;
  whole.examples = rows.all(context.examples);
  return streaming_loss(link_, logits(rows.all(phi), train_samples_, whole), own_targets(targets, rows));
}

Tensor Heteroscedastic::predict(const Tensor& phi, int64_t samples, const Context& context) {
  if (samples == 0) return predict_mean(phi);
  require(samples > 0, "head", "expected 0 or more samples, got ", samples);
  require(samples <= kMostSamples, "head", "expected at most ", kMostSamples, " samples, got ", samples);
  check(Var(phi));
  check_examples(context, phi.dim(0));
  const int64_t j = noise_.coordinates();
  const int64_t at_once = composed_ ? std::min(chunk_, samples) : 1;
  const int64_t per_row = std::max(at_once * std::max(j, classes()), j * noise_.rank());
  const int64_t block = std::max<int64_t>(1, kPredictElements / per_row);
  const RankRows rows = rows_of(phi);
  const Tensor every_phi = rows.all(phi), examples = rows.all(context.examples);
  Tensor p = Tensor::empty({rows.total(), shard().own}, phi.dtype(), phi.device());
  for (int64_t begin = 0; begin < rows.total(); begin += block) {
    const int64_t end = std::min(begin + block, rows.total());
    Context some = context;
    some.training = false;  // the noise of predictions
    some.examples = examples.rows(begin, end);
    p.rows(begin, end).copy_from(predict_block(every_phi.rows(begin, end), samples, some));
  }
  return rows.own_rows(p, shard());
}

Tensor Heteroscedastic::predict_block(const Tensor& phi, int64_t samples, const Context& context) const {
  const NoGrad off;
  const SampledLogits a = logits(Var(phi), samples, context);
  return composed_ ? composed_predict(link_, a, chunk_) : streaming_predict(link_, a);
}

Tensor Heteroscedastic::sum_of_variances(const Tensor& phi, const std::function<Var(const Var&)>& f) const {
  const NoGrad off;
  check(Var(phi));
  const ClassShard& coordinates = noise_.shard();
  const RankRows rows(coordinates.ranks, phi.dim(0));
  Tensor result = f(Var(noise_.variance(rows.all(phi)))).value();
  if (coordinates.divided()) coordinates.ranks->all_reduce(result);
  return rows.own(result);
}

Tensor Heteroscedastic::noise_scale(const Tensor& phi) {
  const double here = static_cast<double>(noise_.shard().own) / static_cast<double>(noise_.coordinates());
  return sum_of_variances(phi, [&](const Var& variance) { return mean(sqrt(variance), 1) * here; });
}

Tensor Heteroscedastic::noise_variance(const Tensor& phi) {
  return sum_of_variances(phi, [](const Var& variance) { return sum(variance, 1); });
}

NoiseParts Heteroscedastic::noise_parts(const Tensor& phi) {
  const NoGrad off;
  check(Var(phi));
  const ClassShard& coordinates = noise_.shard();
  const RankRows rows(coordinates.ranks, phi.dim(0));
  const NoiseScales scales = noise_.scales(Var(rows.all(phi)));
  const Var factors = noise_.factors(scales);
  return {rows.own_rows(scales.d.value(), coordinates),
          factors.defined() ? rows.own_rows(factors.value(), coordinates) : Tensor()};
}

Tensor Heteroscedastic::logit_covariance(const Tensor& phi) {
  const NoGrad off;
  check(Var(phi));
  require(!shard().divided(), "head", "covariance of the logits: expected all ", classes(), " classes here, got ",
          shard().own, ", the others on other ranks");
  const Var weight = before_noise(Var(phi)).weight;
  const Tensor sigma = weight.defined() ? noise_.covariance(phi, weight) : noise_.covariance(phi);
  return (Var(sigma) / square(temperature_.var(Var(phi)))).value();
}

}  // namespace sked
