#include "layers/heads/tile_walk.h"

#include <algorithm>

#include "core/kernels/matmul.h"
#include "core/kernels/memory.h"
#include "core/kernels/random.h"
#include "core/kernels/reduce.h"

namespace sked::detail {

namespace {

/// Rows (example and sample) of a tile, enough that a product with them is worth packing its operands for, and bytes of
/// a tile, which several passes read while it is in the outer caches.
constexpr int64_t kRows = 2048, kTileBytes = 4 << 20;

int64_t round_up(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }

/// (B,C,n) as (B·C,n).
Tensor flat(const Tensor& t) { return t.reshape({-1, t.dim(2)}); }

/// Rows [first, first + n) of matrix b of t (B,J,R).
Tensor rows_of(const Tensor& t, int64_t b, int64_t first, int64_t n) {
  return t.rows(b, b + 1).reshape({t.dim(1), t.dim(2)}).rows(first, first + n);
}

Tensor matrix(const Tensor& t, int64_t b) { return rows_of(t, b, 0, t.dim(1)); }

}  // namespace

TileWalk::TileWalk(const SampledLogits& logits, TileSize size)
    : x_(logits),
      classifier_(logits.weight.defined()),
      B_(logits.center.dim(0)),
      J_(logits.center.dim(-1)),
      K_(classifier_ ? logits.weight.dim(0) : J_),
      S_(logits.samples) {
  check();
  const int64_t per_sample = std::max<int64_t>(B_, 1);
  const int64_t samples = size.samples > 0 ? size.samples : std::max<int64_t>(1, kRows / per_sample);
  chunk_ = std::min(round_up(samples, 2), round_up(S_, 2));
  const int64_t row_bytes = per_sample * chunk_ * static_cast<int64_t>(sizeof(float));
  const int64_t classes = size.classes > 0 ? size.classes : std::max<int64_t>(64, kTileBytes / row_bytes);
  tile_ = std::min(round_up(classes, 4), round_up(K_, 4));
}

void TileWalk::check() const {
  const auto need = [](const Var& x, const Shape& shape, const char* what) {
    require_shape(x.defined() ? x.value() : Tensor(), shape, "streaming", what);
  };
  require(x_.center.ndim() == 2, "streaming", "expected center (B, J), got ", x_.center.value());
  require(S_ >= 1, "streaming", "expected 1 or more samples, got ", S_);
  require_shape(x_.noise.examples, {B_}, "streaming", "examples");
  need(x_.d, {B_, J_}, "d");
  if (x_.v.defined()) need(x_.v, {B_, J_}, "v");
  const bool factors = x_.factors.defined();
  require(factors || !x_.v.defined(), "streaming", "expected factors beside v");
  if (factors && x_.v.defined()) need(x_.factors, {J_, x_.factors.dim(-1)}, "factors");
  if (factors && !x_.v.defined()) need(x_.factors, {B_, J_, x_.factors.dim(-1)}, "factors");
  if (!classifier_) return;
  need(x_.weight, {K_, J_}, "weight");
  need(x_.bias, {K_}, "bias");
}

Tensor TileWalk::empty(const Shape& shape) const { return Tensor::empty(shape, x_.center.dtype(), x_.center.device()); }

Tensor TileWalk::zeros(const Shape& shape) const { return Tensor::zeros(shape, x_.center.dtype(), x_.center.device()); }

void TileWalk::draw() {
  count_ = std::min(chunk_, S_ - sample_);
  klass_ = -1;
  const NoiseSource& noise = x_.noise;
  if (x_.factors.defined()) {
    eps_r_ = empty({B_, count_, x_.factors.dim(-1)});
    kernel::gaussian_noise(noise.examples, eps_r_, noise.factors, {sample_, 0, noise.antithetic});
  }
  if (classifier_) z_ = noisy(0, J_);
}

Tensor TileWalk::noisy(int64_t first, int64_t n) {
  Tensor z = empty({B_, count_, n});
  eps_ = empty(z.shape());
  kernel::gaussian_noise(x_.noise.examples, eps_, x_.noise.diagonal, {sample_, first, x_.noise.antithetic});
  if (x_.factors.defined()) project(first, n);
  const Tensor v = x_.v.defined() ? x_.v.value() : Tensor();
  kernel::noise_forward(x_.center.value(), x_.d.value(), eps_, v, q_, z, first);
  return z;
}

void TileWalk::project(int64_t first, int64_t n) {
  const Tensor& factors = x_.factors.value();
  q_ = empty({B_, count_, n});
  if (x_.v.defined()) {
    Tensor q = flat(q_);
    return kernel::matmul(flat(eps_r_), factors.rows(first, first + n), q, false, true, false);
  }
  if (n == J_) return kernel::matmul(eps_r_, factors, q_, false, true, false);
  for (int64_t b = 0; b < B_; ++b) {
    Tensor q = matrix(q_, b);
    kernel::matmul(matrix(eps_r_, b), rows_of(factors, b, first, n), q, false, true, false);
  }
}

Tensor& TileWalk::logits(int64_t klass) {
  if (klass == klass_) return a_;
  klass_ = klass;
  const int64_t n = std::min(tile_, K_ - klass);
  if (!classifier_) return a_ = noisy(klass, n);
  a_ = empty({B_, count_, n});
  Tensor a = flat(a_), none;
  kernel::linear_forward(flat(z_), x_.weight.value().rows(klass, klass + n), x_.bias.value().rows(klass, klass + n), a,
                         none, Activation::none);
  return a_;
}

// With g = ∂L/∂a of a tile, for HET-XL: ∂z += g W, ∂W += gᵀ z, ∂b += Σ g. For HET z is a.
void TileWalk::pass_on(int64_t klass) {
  klass_ = -1;
  if (!classifier_) return add_noise_gradients(a_, klass);
  const bool more_classes = klass > 0, more_samples = sample_ > 0;
  const Tensor g = flat(a_);
  const int64_t n = g.dim(1);
  if (!more_classes) dz_ = empty(z_.shape());
  Tensor dz = flat(dz_);
  kernel::matmul(g, x_.weight.value().rows(klass, klass + n), dz, false, false, more_classes);
  if (!dweight_.defined()) dweight_ = empty({K_, J_}), dbias_ = zeros({K_});
  Tensor dw = dweight_.rows(klass, klass + n), db = dbias_.rows(klass, klass + n), sums = empty({n});
  kernel::matmul(g, flat(z_), dw, true, false, more_samples);
  kernel::reduce_forward(g, sums, Reduce::sum, {1, rows(), n});
  kernel::add_scaled(sums, db, 1);
}

void TileWalk::finish_chunk() {
  if (classifier_) add_noise_gradients(dz_, 0);
}

void TileWalk::add_noise_gradients(const Tensor& dz, int64_t first) {
  if (!dcenter_.defined()) {
    dcenter_ = zeros({B_, J_});
    dd_ = zeros({B_, J_});
    if (x_.v.defined()) dv_ = zeros({B_, J_});
    if (x_.factors.defined()) dfactors_ = empty(x_.factors.shape());
  }
  const Tensor v = x_.v.defined() ? x_.v.value() : Tensor();
  kernel::noise_backward(dz, eps_, v, q_, dcenter_, dd_, dv_, first);
  if (x_.factors.defined()) add_factor_gradients(dz, first, dz.dim(2));
}

// Efficient: ∂V += Σ (dz ⊙ v) ε^Rᵀ, noise_backward having put dz ⊙ v into q. Full: ∂V(x) += Σ_s dz_s ε^R_sᵀ.
void TileWalk::add_factor_gradients(const Tensor& dz, int64_t first, int64_t n) {
  const bool more_samples = sample_ > 0;
  if (x_.v.defined()) {
    Tensor df = dfactors_.rows(first, first + n);
    return kernel::matmul(flat(q_), flat(eps_r_), df, true, false, more_samples);
  }
  if (n == J_) return kernel::matmul(dz, eps_r_, dfactors_, true, false, more_samples);
  for (int64_t b = 0; b < B_; ++b) {
    Tensor df = rows_of(dfactors_, b, first, n);
    kernel::matmul(matrix(dz, b), matrix(eps_r_, b), df, true, false, more_samples);
  }
}

}  // namespace sked::detail
