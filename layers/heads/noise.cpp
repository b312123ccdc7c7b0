#include "layers/heads/noise.h"

#include <cmath>

#include "autograd/elementwise.h"
#include "autograd/matmul.h"
#include "autograd/reduce.h"
#include "autograd/shape.h"

namespace sked {

namespace {

constexpr double kSmallestDeviation = 1e-3;  // of d(x)

/// The form of noise on so many coordinates, once the configuration has passed.
Factors checked(const NoiseConfig& config, const std::string& section, int64_t coordinates) {
  require_usage(config.factors == Factors::diagonal || (config.rank >= 1 && config.rank <= coordinates),
                section + ".rank", "expected 1 to ", coordinates, " (number of noisy coordinates), got ", config.rank);
  require_usage(std::isfinite(config.init_scale) && config.init_scale >= 0, section + ".noise_init_scale",
                "expected a finite value >= 0, got ", config.init_scale);
  return config.factors;
}

}  // namespace

GaussianNoise::GaussianNoise(const NoiseConfig& config, const std::string& section, int64_t width, int64_t coordinates,
                             Init& init)
    : form_(checked(config, section, coordinates)),
      coordinates_(coordinates),
      rank_(form_ == Factors::diagonal ? 0 : config.rank),
      antithetic_(config.antithetic),
      training_{init.next_stream(), init.next_stream()},
      prediction_{init.next_stream(), init.next_stream()},
      diagonal_(init.lecun_normal({coordinates, width}, config.init_scale), init.constant({coordinates}, 0)) {
  add("diagonal", diagonal_);
  if (form_ == Factors::diagonal) return;
  const int64_t outputs = form_ == Factors::full ? coordinates * rank_ : coordinates;
  factors_ =
      std::make_unique<Linear>(init.lecun_normal({outputs, width}, config.init_scale), init.constant({outputs}, 0));
  add("factors", *factors_);
  if (form_ == Factors::full) return;
  v_ = parameter(init.lecun_normal({coordinates, rank_}));
  add("v", v_);
}

NoiseScales GaussianNoise::scales(const Var& phi) const {
  NoiseScales scales{.d = softplus(diagonal_.forward(phi)) + kSmallestDeviation};
  if (form_ == Factors::full) scales.factors = reshape(factors_->forward(phi), {phi.dim(0), coordinates_, rank_});
  if (form_ == Factors::efficient) scales.v = factors_->forward(phi), scales.factors = v_;
  return scales;
}

void check_examples(const Context& context, int64_t rows) {
  require(context.examples.defined() && context.examples.shape() == Shape{rows}, "head",
          "expected the global index of each of ", rows, " examples in the context, got ", context.examples);
}

NoiseSource GaussianNoise::source(const Context& context, int64_t rows) const {
  check_examples(context, rows);
  const Streams& streams = context.training ? training_ : prediction_;
  const uint64_t step = context.training ? context.step : 0;
  return {context.examples, {context.seed, streams.factors, step}, {context.seed, streams.diagonal, step}, antithetic_};
}

Tensor GaussianNoise::variance(const Tensor& phi) const {
  const NoGrad off;
  const auto [d, v, factors] = scales(Var(phi));
  const Var independent = square(d);
  switch (form_) {
    case Factors::diagonal:
      return independent.value();
    case Factors::full:
      return (sum(square(factors), 2) + independent).value();
    case Factors::efficient:
      return (square(v) * sum(square(factors), 1) + independent).value();
  }
  return {};
}

Tensor GaussianNoise::covariance(const Tensor& phi) const {
  const NoGrad off;
  const auto [d, v, factors] = scales(Var(phi));
  const int64_t rows = phi.dim(0), j = coordinates_;
  Tensor identity = Tensor::zeros({j, j}, phi.dtype());
  for (int64_t i = 0; i < j; ++i) identity.rows(i, i + 1).reshape({j, 1}).rows(i, i + 1).fill(1);
  const Var diagonal = reshape(square(d), {rows, j, 1}) * Var(identity.to(phi.device()));  // diag(d²)
  if (form_ == Factors::diagonal) return diagonal.value();
  const Var all = form_ == Factors::full ? factors : reshape(v, {rows, j, 1}) * factors;  // V(x) (B,J,R)
  return (matmul(all, all, false, true) + diagonal).value();
}

}  // namespace sked
