#include "layers/heads/noise.h"

#include "autograd/elementwise.h"
#include "autograd/matmul.h"
#include "autograd/reduce.h"
#include "autograd/shape.h"
#include "core/kernels/random.h"

namespace sked {

namespace {

constexpr double kSmallestDeviation = 1e-3;  // of d(x)

/// (B,J) -> (B,1,J), to meet (B,C,J).
Var for_every_sample(const Var& x) { return reshape(x, {x.dim(0), 1, x.dim(1)}); }

}  // namespace

GaussianNoise::GaussianNoise(Factors form, int64_t width, int64_t coordinates, int64_t rank, double init_scale,
                             Init& init, bool antithetic)
    : form_(form),
      coordinates_(coordinates),
      rank_(form == Factors::diagonal ? 0 : rank),
      antithetic_(antithetic),
      training_{init.next_stream(), init.next_stream()},
      prediction_{init.next_stream(), init.next_stream()},
      diagonal_(init.lecun_normal({coordinates, width}, init_scale), init.constant({coordinates}, 0)) {
  add("diagonal", diagonal_);
  if (form == Factors::diagonal) return;
  const int64_t outputs = form == Factors::full ? coordinates * rank_ : coordinates;
  factors_ = std::make_unique<Linear>(init.lecun_normal({outputs, width}, init_scale), init.constant({outputs}, 0));
  add("factors", *factors_);
  if (form == Factors::full) return;
  v_ = parameter(init.lecun_normal({coordinates, rank_}));
  add("v", v_);
}

std::vector<Var> GaussianNoise::scales(const Var& phi) const {
  const Var d = softplus(diagonal_.forward(phi)) + kSmallestDeviation;
  switch (form_) {
    case Factors::diagonal:
      return {d};
    case Factors::full:
      return {d, reshape(factors_->forward(phi), {phi.dim(0), coordinates_, rank_})};
    case Factors::efficient:
      return {d, factors_->forward(phi), v_};
  }
  return {};
}

NoiseSource GaussianNoise::source(const Context& context, int64_t rows) const {
  require(context.examples.defined() && context.examples.shape() == Shape{rows}, "head",
          "expected the global index of each of ", rows, " examples in the context, got ", context.examples);
  const Streams& streams = context.training ? training_ : prediction_;
  const uint64_t step = context.training ? context.step : 0;
  return {context.examples, {context.seed, streams.factors, step}, {context.seed, streams.diagonal, step}, antithetic_};
}

Var GaussianNoise::draw(const std::vector<Var>& scales, const Context& context, int64_t first, int64_t count) const {
  const Var& d = scales[0];  // (B,J)
  const NoiseSource from = source(context, d.dim(0));
  const auto normal = [&](const RngAddress& address, int64_t n) {  // (B,C,n)
    Tensor noise = Tensor::empty({d.dim(0), count, n}, d.dtype(), d.device());
    kernel::gaussian_noise(from.examples, noise, address, {first, 0, from.antithetic});
    return Var(noise);
  };
  const Var independent = for_every_sample(d) * normal(from.diagonal, coordinates_);  // d ⊙ ε^J_s
  if (form_ == Factors::diagonal) return independent;
  const Var eps = normal(from.factors, rank_);  // ε^R_s (B,C,R)
  if (form_ == Factors::full) return matmul(eps, scales[1], false, true) + independent;
  const Var q = linear(eps, scales[2]);  // V ε^R_s (B,C,J): one product for all rows, V being shared
  return for_every_sample(scales[1]) * q + independent;
}

Tensor GaussianNoise::variance(const Tensor& phi) const {
  const NoGrad off;
  const std::vector<Var> s = scales(Var(phi));
  const Var independent = square(s[0]);
  switch (form_) {
    case Factors::diagonal:
      return independent.value();
    case Factors::full:
      return (sum(square(s[1]), 2) + independent).value();
    case Factors::efficient:
      return (square(s[1]) * sum(square(s[2]), 1) + independent).value();
  }
  return {};
}

Tensor GaussianNoise::covariance(const Tensor& phi) const {
  const NoGrad off;
  const std::vector<Var> s = scales(Var(phi));
  const int64_t rows = phi.dim(0), j = coordinates_;
  Tensor identity = Tensor::zeros({j, j}, phi.dtype());
  for (int64_t i = 0; i < j; ++i) identity.rows(i, i + 1).reshape({j, 1}).rows(i, i + 1).fill(1);
  const Var diagonal = reshape(square(s[0]), {rows, j, 1}) * Var(identity.to(phi.device()));  // diag(d²)
  if (form_ == Factors::diagonal) return diagonal.value();
  const Var v = form_ == Factors::full ? s[1] : reshape(s[1], {rows, j, 1}) * s[2];  // V(x) (B,J,R)
  return (matmul(v, v, false, true) + diagonal).value();
}

}  // namespace sked
