#include "layers/heads/logit_tiles.h"

#include <algorithm>
#include <tuple>

#include "autograd/support.h"
#include "core/kernels/l2_normalize.h"
#include "core/kernels/matmul.h"
#include "core/kernels/memory.h"
#include "core/precision.h"

namespace sked::detail {

namespace {

/// How large a tile is made. On the CPU: rows (example and sample) enough that a product with them is worth packing its
/// operands for, and bytes that stay in the outer caches from pass to pass. A GPU's caches hold no tile worth a launch
/// on all its multiprocessors: rows and bytes so many that products run at its rate and launches do not count.
struct Budget {
  int64_t rows, bytes;
};
constexpr Budget budget_of(Device device) {
  return device == Device::cpu ? Budget{2048, int64_t{8} << 20} : Budget{16384, int64_t{512} << 20};
}

/// What z, W and logits are kept in. Where products round their factors to bf16, in bf16: the factors are then rounded
/// once instead of once a tile, and logits move half the bytes.
DType factor_dtype(const Tensor& center) {
  return center.dtype() == DType::f32 ? activation_dtype(center.device()) : center.dtype();
}

/// Tensor cores want rows that start at whole 16 bytes.
constexpr int64_t kPack = 8;

int64_t round_up(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }

/// (B,C,n) as (B·C,n).
Tensor flat(const Tensor& t) { return t.reshape({-1, t.dim(2)}); }

/// Rows [first, first + n) of matrix b of t (B,J,R).
Tensor rows_of(const Tensor& t, int64_t b, int64_t first, int64_t n) {
  return t.rows(b, b + 1).reshape({t.dim(1), t.dim(2)}).rows(first, first + n);
}

Tensor matrix(const Tensor& t, int64_t b) { return rows_of(t, b, 0, t.dim(1)); }

}  // namespace

std::shared_ptr<KeptTiles> worth_keeping(const SampledLogits& logits) {
  constexpr int64_t kMostNoise = int64_t{64} << 20, kMostLogits = int64_t{512} << 20;  // bytes
  if (!logits.weight.defined() || !logits.scales.d.defined() || logits.center.device() != Device::cpu) return nullptr;
  if (!on_tape(inputs_of(logits))) return nullptr;
  constexpr int64_t kMany = 1024;  // classes beside which drawing again is nothing
  if (logits.shard.divided() && logits.weight.dim(0) >= kMany) return nullptr;
  const int64_t rank = logits.scales.factors.defined() ? logits.scales.factors.dim(-1) : 0;
  const int64_t row_bytes = (logits.center.dim(-1) + rank) * static_cast<int64_t>(size_of(logits.center.dtype()));
  const int64_t rows = std::max<int64_t>(1, logits.center.dim(0) * logits.samples);
  if (rows > kMostNoise / row_bytes) return nullptr;
  auto kept = std::make_shared<KeptTiles>();
  kept->room = kMostLogits;
  return kept;
}

LogitTiles::LogitTiles(const SampledLogits& logits, TileSize size, std::shared_ptr<KeptTiles> kept)
    : x_(logits),
      kept_(std::move(kept)),
      classifier_(logits.weight.defined()),
      B_(logits.center.dim(0)),
      J_(logits.center.dim(-1)),
      K_(classifier_ ? logits.weight.dim(0) : J_),
      S_(logits.samples),
      first_(classifier_ ? 0 : logits.shard.first),
      factor_(classifier_ ? factor_dtype(logits.center.value()) : logits.center.dtype()) {
  check(x_, "streaming");
  if (classifier_) weight_ = x_.weight.value().read_as(factor_);
  if (classifier_ && x_.bias.defined()) bias_ = x_.bias.value().read_as(factor_);
  const Budget budget = budget_of(x_.center.device());
  const int64_t per_sample = std::max<int64_t>(B_, 1);
  const int64_t rows = x_.shard.divided() ? budget.rows / 2 : budget.rows;  // memory counts where classes are divided
  const int64_t samples = size.samples > 0 ? size.samples : std::max<int64_t>(1, rows / per_sample);
  chunk_ = std::min(round_up(samples, x_.noise.antithetic ? 2 : 1), S_);
  const int64_t row_bytes = per_sample * chunk_ * (factor_ == DType::bf16 ? 2 : 4);
  const int64_t classes = size.classes > 0 ? size.classes : std::max<int64_t>(64, budget.bytes / row_bytes);
  tile_ = std::min(round_up(classes, 4), round_up(first_ % 4 + K_, 4));
}

Tensor LogitTiles::empty(const Shape& shape) const {
  return Tensor::empty(shape, x_.center.dtype(), x_.center.device());
}

Tensor LogitTiles::zeros(const Shape& shape) const {
  return Tensor::zeros(shape, x_.center.dtype(), x_.center.device());
}

void LogitTiles::draw() {
  count_ = std::min(chunk_, S_ - sample_);
  class_index_ = -1;
  z_ = r_ = eps_ = q_ = a_ = z_factor_ = Tensor();  // their memory is what the next chunk takes
  if (kept_ != nullptr) {
    const auto [noise, fresh] = kept_->noise.try_emplace(sample_);
    if (fresh) noise->second = {factor_noise(), diagonal_noise(0, J_)};
    std::tie(eps_r_, eps_) = noise->second;
  } else {
    eps_r_ = factor_noise();
  }
  if (!classifier_) return;
  z_ = x_.scales.d.defined() ? noisy(0, J_) : x_.center.value().reshape({B_, 1, J_});
  if (x_.normalize) {
    Tensor z = flat(z_);
    r_ = empty({rows()});
    kernel::l2_normalize_forward(z, z, r_, kLengthEps);
  }
  z_factor_ = z_.to(factor_);
}

/// ε^R (B,C,R); undefined without factors.
Tensor LogitTiles::factor_noise() const {
  if (!x_.scales.factors.defined()) return {};
  Tensor eps = empty({B_, count_, x_.scales.factors.dim(-1)});
  draw_noise(x_.noise, x_.noise.factors, sample_, 0, eps);
  return eps;
}

/// ε^J of coordinates [first, first + n): (B,C,n).
Tensor LogitTiles::diagonal_noise(int64_t first, int64_t n) const {
  const NoiseSource& noise = x_.noise;
  Tensor eps = empty({B_, count_, n});
  if (noise.shared_diagonal) {
    Tensor one = empty({B_, count_, 1});
    draw_noise(noise, noise.diagonal, sample_, 0, one);
    kernel::broadcast_to(one, eps);
  } else {
    draw_noise(noise, noise.diagonal, sample_, first_ + first, eps);
  }
  return eps;
}

Tensor LogitTiles::noisy(int64_t first, int64_t n) {
  Tensor z = empty({B_, count_, n});
  if (kept_ == nullptr) eps_ = diagonal_noise(first, n);
  if (x_.scales.factors.defined()) project(first, n);
  const Tensor v = x_.scales.v.defined() ? x_.scales.v.value() : Tensor();
  kernel::noise_forward(x_.center.value(), x_.scales.d.value(), eps_, v, q_, z, first);
  return z;
}

void LogitTiles::project(int64_t first, int64_t n) {
  const Tensor& factors = x_.scales.factors.value();
  q_ = empty({B_, count_, n});
  if (x_.scales.v.defined()) {
    Tensor q = flat(q_);
    return kernel::matmul(flat(eps_r_), factors.rows(first, first + n), q, false, true, false);
  }
  if (n == J_) return kernel::matmul(eps_r_, factors, q_, false, true, false);
  for (int64_t b = 0; b < B_; ++b) {
    Tensor q = matrix(q_, b);
    kernel::matmul(matrix(eps_r_, b), rows_of(factors, b, first, n), q, false, true, false);
  }
}

// All tiles but the first begin where noise can be drawn: at a multiple of 4 among the coordinates of all ranks. In
// bf16 the last classes make a tile of their own where they fill no pack: so do all other tiles' rows.
int64_t LogitTiles::width(int64_t class_index) const {
  const int64_t n = std::min(tile_ - (first_ + class_index) % 4, K_ - class_index);
  return factor_ == DType::bf16 && n > kPack ? n - n % kPack : n;
}

const Tensor& LogitTiles::logits(int64_t class_index) {
  if (class_index == class_index_) return a_;
  class_index_ = class_index;
  a_ = Tensor();  // the next tile takes the memory of the last
  if (kept_ == nullptr) {
    compute(class_index);
    return a_;
  }
  const std::pair place(sample_, class_index);
  if (const auto found = kept_->logits.find(place); found != kept_->logits.end()) return a_ = found->second;
  compute(class_index);
  const auto bytes = static_cast<int64_t>(a_.bytes());
  if (bytes <= kept_->room) {
    kept_->room -= bytes;
    kept_->logits[place] = a_;
  }
  return a_;
}

void LogitTiles::compute(int64_t class_index) {
  const int64_t n = width(class_index);
  if (!classifier_) {
    a_ = noisy(class_index, n);
    return;
  }
  a_ = Tensor::empty({B_, count_, n}, factor_, x_.center.device());
  Tensor a = flat(a_), none;
  const Tensor bias = bias_.defined() ? bias_.rows(class_index, class_index + n) : none;
  kernel::linear_forward(flat(z_factor_), weight_.rows(class_index, class_index + n), bias, a, none, Activation::none);
}

// With g = ∂L/∂a of a tile, for HET-XL: ∂z += g W, ∂W += gᵀ z. For HET z is a.
void LogitTiles::pass_on(int64_t class_index) {
  class_index_ = -1;
  if (!classifier_) return add_noise_gradients(a_, class_index);
  const bool more_classes = class_index > 0, more_samples = sample_ > 0;
  const Tensor g = flat(a_);
  const int64_t n = g.dim(1);
  if (!more_classes) dz_ = empty(z_.shape());
  Tensor dz = flat(dz_);
  kernel::matmul(g, weight_.rows(class_index, class_index + n), dz, false, false, more_classes);
  if (!dweight_.defined()) dweight_ = empty({K_, J_});
  Tensor dw = dweight_.rows(class_index, class_index + n);
  kernel::matmul(g, flat(z_factor_), dw, true, false, more_samples);
}

// Where z is of length 1, ∂z goes through what made it so, in place; without noise, ∂z is ∂center.
void LogitTiles::finish_chunk() {
  if (!classifier_) return;
  if (K_ == 0) {
    dz_ = zeros(z_.shape());
    dweight_ = empty({0, J_});
  }
  Tensor dz = flat(dz_);
  if (x_.normalize) kernel::l2_normalize_backward(dz, flat(z_), r_, dz);
  if (x_.scales.d.defined()) {
    add_noise_gradients(dz_, 0);
  } else {
    dcenter_ = dz;
  }
}

void LogitTiles::add_noise_gradients(const Tensor& dz, int64_t first) {
  if (!dcenter_.defined()) {
    dcenter_ = zeros({B_, J_});
    dd_ = zeros({B_, J_});
    if (x_.scales.v.defined()) dv_ = zeros({B_, J_});
    if (x_.scales.factors.defined()) dfactors_ = empty(x_.scales.factors.shape());
  }
  const Tensor v = x_.scales.v.defined() ? x_.scales.v.value() : Tensor();
  kernel::noise_backward(dz, eps_, v, q_, dcenter_, dd_, dv_, first);
  if (x_.scales.factors.defined()) add_factor_gradients(dz, first, dz.dim(2));
}

// Efficient: ∂V += Σ (dz ⊙ v) ε^Rᵀ, noise_backward having put dz ⊙ v into q. Full: ∂V(x) += Σ_s dz_s ε^R_sᵀ.
void LogitTiles::add_factor_gradients(const Tensor& dz, int64_t first, int64_t n) {
  const bool more_samples = sample_ > 0;
  if (x_.scales.v.defined()) {
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
