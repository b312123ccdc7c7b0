#pragma once
// Normalization by the statistics of each channel. x̂ = (x − mean) · rstd with rstd = 1/sqrt(var + eps) and the biased
// variance; y = γ x̂ + β.

#include "core/kernel.h"

namespace sked {

/// x (…,C) as M rows of C channels.
struct BatchNormSizes {
  int64_t M, C;
};
inline BatchNormSizes batch_norm_sizes(const Tensor& x) { return {x.shape().product(0, x.ndim() - 1), x.dim(-1)}; }

}  // namespace sked

namespace sked::kernel {

/// Batch norm (Ioffe & Szegedy, arXiv 1502.03167) over all axes but the last: x (…, C), M rows. y = γ x̂ + β [+
/// residual], then ReLU when asked. residual: x's shape or undefined. mean, rstd (C) are those of this batch, saved for
/// the backward pass; running ← (1 − momentum) running + momentum batch, with the unbiased variance M/(M−1). γ, β,
/// running (C). Throws for M < 2. y may be x's own storage only when x is not needed again.
inline Kernel<void(const Tensor& x, const Tensor& residual, const Tensor& gamma, const Tensor& beta, Tensor& y,
                   Tensor& mean, Tensor& rstd, Tensor& running_mean, Tensor& running_var, double momentum, double eps,
                   bool relu)>
    batch_norm_forward{"batch_norm_forward"};

/// With g = dy [y > 0] under ReLU (y is read only then; it may be undefined otherwise): dresidual = g (skipped where
/// undefined), dβ = Σ g, dγ = Σ g x̂, dx = γ rstd (g − dβ/M − x̂ dγ/M).
inline Kernel<void(const Tensor& dy, const Tensor& x, const Tensor& y, const Tensor& gamma, const Tensor& mean,
                   const Tensor& rstd, Tensor& dx, Tensor& dresidual, Tensor& dgamma, Tensor& dbeta, bool relu)>
    batch_norm_backward{"batch_norm_backward"};

/// Normalization by the rows of several ranks (core/communicator.h), in parts between which those are brought together.
/// moments (3,C) of a rank's x: mean, Σ (x − mean)² and M in each channel. Throws without rows.
inline Kernel<void(const Tensor& x, Tensor& moments)> batch_norm_moments{"batch_norm_moments"};
/// From moments (N,3,C) of N ranks, in their order (Chan, Golub & LeVeque 1979): mean, biased variance and rstd (C) of
/// all their rows; running statistics as in batch_norm_forward, M being all rows.
inline Kernel<void(const Tensor& moments, Tensor& mean, Tensor& var, Tensor& rstd, Tensor& running_mean,
                   Tensor& running_var, double momentum, double eps)>
    batch_norm_join{"batch_norm_join"};
/// g and dresidual as in batch_norm_backward; sums (3,C) of a rank's rows: Σ g, Σ g x̂ and M in each channel.
inline Kernel<void(const Tensor& dy, const Tensor& x, const Tensor& y, const Tensor& mean, const Tensor& rstd,
                   Tensor& dresidual, Tensor& sums, bool relu)>
    batch_norm_sums{"batch_norm_sums"};
/// dx as in batch_norm_backward, from sums (3,C) of all rows: γ rstd (g − sums[0]/M − x̂ sums[1]/M), M = sums[2].
inline Kernel<void(const Tensor& dy, const Tensor& x, const Tensor& y, const Tensor& gamma, const Tensor& mean,
                   const Tensor& rstd, const Tensor& sums, Tensor& dx, bool relu)>
    batch_norm_input_gradient{"batch_norm_input_gradient"};

/// The same as batch_norm_forward with fixed running statistics.
inline Kernel<void(const Tensor& x, const Tensor& residual, const Tensor& gamma, const Tensor& beta,
                   const Tensor& running_mean, const Tensor& running_var, Tensor& y, double eps, bool relu)>
    batch_norm_inference{"batch_norm_inference"};

}  // namespace sked::kernel
