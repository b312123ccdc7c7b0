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
  require_usage(config.init == 0 || (std::isfinite(config.init) && config.init > kSmallestDeviation),
                section + ".noise_init", "expected a finite value > ", kSmallestDeviation,
                " (or 0: the bias of d(x) starts at 0), got ", config.init);
  require_usage(!config.factor_bias || config.factors == Factors::efficient, section + ".factor_bias",
                "expected factors efficient beside it, got ", config.factors);
  return config.factors;
}

/// b_d at which softplus(b_d) + 1e-3 is config.init.
double diagonal_bias(const NoiseConfig& config) {
  const double rest = config.init - kSmallestDeviation;
  return config.init == 0 ? 0 : rest + std::log(-std::expm1(-rest));  // log(exp(rest) − 1)
}

/// Rows of this rank's coordinates, `each` for one, of a lecun-normal weight (J each, inputs).
Tensor weight_of(int64_t inputs, int64_t each, double scale, const ClassShard& coordinates, Init& init) {
  return init.lecun_normal({coordinates.total * each, inputs}, scale, coordinates.rows(each));
}

}  // namespace

GaussianNoise::GaussianNoise(const NoiseConfig& config, const std::string& section, int64_t width,
                             const ClassShard& coordinates, Init& init)
    : form_(checked(config, section, coordinates.total)),
      shard_(coordinates),
      rank_(form_ == Factors::diagonal ? 0 : config.rank),
      shared_diagonal_(config.diagonal == DiagonalNoise::shared),
      antithetic_(config.antithetic),
      training_{init.next_stream(), init.next_stream()},
      prediction_{init.next_stream(), init.next_stream()},
      diagonal_(weight_of(width, 1, config.init_scale, shard_, init),
                init.constant({shard_.own}, diagonal_bias(config)), shard_.row_shard()) {
  add("diagonal", diagonal_);
  if (form_ == Factors::diagonal) return;
  const int64_t each = form_ == Factors::full ? rank_ : 1;  // outputs a coordinate
  factors_ = std::make_unique<Linear>(weight_of(width, each, config.init_scale, shard_, init),
                                      init.constant({shard_.own * each}, 0), shard_.row_shard(each));
  add("factors", *factors_);
  if (form_ == Factors::full) return;
  v_ = parameter(weight_of(rank_, 1, 1, shard_, init));
  add("v", v_, shard_.row_shard());
  if (!config.factor_bias) return;
  v_bias_ = parameter(init.constant({shard_.own}, 0));
  add("v_bias", v_bias_, shard_.row_shard());
}

NoiseScales GaussianNoise::scales(const Var& phi) const {
  NoiseScales scales{.d = softplus(diagonal_.forward(phi)) + kSmallestDeviation};
  if (form_ == Factors::full) scales.factors = reshape(factors_->forward(phi), {phi.dim(0), shard_.own, rank_});
  if (form_ == Factors::efficient) scales.v = factors_->forward(phi), scales.factors = v_;
  return scales;
}

Var GaussianNoise::factors(const NoiseScales& scales) const {
  if (form_ != Factors::efficient) return scales.factors;
  return reshape(scales.v, {scales.v.dim(0), shard_.own, 1}) * scales.factors;
}

Var GaussianNoise::mean(const NoiseScales& scales) const { return v_bias_.defined() ? scales.v * v_bias_ : Var(); }

void check_examples(const Context& context, int64_t rows) {
  require(context.examples.defined() && context.examples.shape() == Shape{rows}, "head",
          "expected the global index of each of ", rows, " examples in the context, got ", context.examples);
}

NoiseSource GaussianNoise::source(const Context& context, int64_t rows) const {
  check_examples(context, rows);
  const Streams& streams = context.training ? training_ : prediction_;
  const uint64_t step = context.training ? context.step : 0;
  return {.examples = context.examples,
          .factors = {context.seed, streams.factors, step},
          .diagonal = {context.seed, streams.diagonal, step},
          .shared_diagonal = shared_diagonal_,
          .antithetic = antithetic_};
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
  const NoiseScales of_phi = scales(Var(phi));
  const int64_t rows = phi.dim(0), j = shard_.own;
  const Var& d = of_phi.d;
  Var diagonal = reshape(d, {rows, j, 1}) * reshape(d, {rows, 1, j});  // d dᵀ: what is shared
  if (!shared_diagonal_) {
    Tensor identity = Tensor::zeros({j, j}, phi.dtype());
    for (int64_t i = 0; i < j; ++i) identity.rows(i, i + 1).reshape({j, 1}).rows(i, i + 1).fill(1);
    diagonal = diagonal * Var(identity.to(phi.device()));  // diag(d²)
  }
  if (form_ == Factors::diagonal) return diagonal.value();
  const Var all = factors(of_phi);
  return (matmul(all, all, false, true) + diagonal).value();
}

Tensor GaussianNoise::covariance(const Tensor& phi, const Var& weight) const {
  const NoGrad off;
  const NoiseScales of_phi = scales(Var(phi));
  const int64_t rows = phi.dim(0), j = shard_.own, k = weight.dim(0);
  Var diagonal;
  if (shared_diagonal_) {
    const Var shared = matmul(of_phi.d, weight, false, true);  // W d
    diagonal = reshape(shared, {rows, k, 1}) * reshape(shared, {rows, 1, k});
  } else {
    const Var scaled = reshape(of_phi.d, {rows, 1, j}) * reshape(weight, {1, k, j});  // W diag(d)
    diagonal = matmul(scaled, scaled, false, true);
  }
  if (form_ == Factors::diagonal) return diagonal.value();
  const Var seen = matmul(factors(of_phi), weight, true, true);  // (W V)ᵀ
  return (matmul(seen, seen, true, false) + diagonal).value();
}

}  // namespace sked
