#pragma once
// Normalization. x̂ = (x − mean) · rstd with rstd = 1/sqrt(var + eps) and the biased variance; y = γ x̂ + β.

#include "core/kernel.h"

namespace sked {
/// eps of l2_normalize unless it is told otherwise: below the rounding of f32 for rows longer than 4e-3.
inline constexpr double kLengthEps = 1e-12;
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

/// The same with fixed running statistics.
inline Kernel<void(const Tensor& x, const Tensor& residual, const Tensor& gamma, const Tensor& beta,
                   const Tensor& running_mean, const Tensor& running_var, Tensor& y, double eps, bool relu)>
    batch_norm_inference{"batch_norm_inference"};

/// Layer norm (Ba et al., arXiv 1607.06450) of each row: x (N,D), γ, β (D) or both undefined (then y = x̂), mean, rstd
/// (N) saved.
inline Kernel<void(const Tensor& x, const Tensor& gamma, const Tensor& beta, Tensor& y, Tensor& mean, Tensor& rstd,
                   double eps)>
    layer_norm_forward{"layer_norm_forward"};

/// With g = dy γ: dx = rstd (g − mean_j g − x̂ mean_j (g x̂)) [+ residual], dγ = Σ_n dy x̂, dβ = Σ_n dy (both skipped
/// where undefined). residual (N,D) or undefined: the gradient that reaches x past the norm.
inline Kernel<void(const Tensor& dy, const Tensor& x, const Tensor& gamma, const Tensor& mean, const Tensor& rstd,
                   const Tensor& residual, Tensor& dx, Tensor& dgamma, Tensor& dbeta)>
    layer_norm_backward{"layer_norm_backward"};

/// Group norm (Wu & He, arXiv 1803.08494): x (N,P,C) with P positions, statistics over P and the C/groups channels of a
/// group; γ, β (C); mean, rstd (N, groups) saved.
inline Kernel<void(const Tensor& x, const Tensor& gamma, const Tensor& beta, Tensor& y, Tensor& mean, Tensor& rstd,
                   int64_t groups, double eps)>
    group_norm_forward{"group_norm_forward"};
inline Kernel<void(const Tensor& dy, const Tensor& x, const Tensor& gamma, const Tensor& mean, const Tensor& rstd,
                   Tensor& dx, Tensor& dgamma, Tensor& dbeta, int64_t groups)>
    group_norm_backward{"group_norm_backward"};

/// Rows brought to length 1: y = x r, r[n] = 1/sqrt(Σ_d x[n,d]² + eps), saved. x, y (N,D), r (N); y may be x. eps keeps
/// a row of zeros at zero, with the derivative 1/sqrt(eps) there; rows much longer than sqrt(eps) do not feel it.
inline Kernel<void(const Tensor& x, Tensor& y, Tensor& r, double eps)> l2_normalize_forward{"l2_normalize_forward"};

/// dx = r (dy − y Σ_d dy y): the part of dy along the row is lost. dx may be dy.
inline Kernel<void(const Tensor& dy, const Tensor& y, const Tensor& r, Tensor& dx)> l2_normalize_backward{
    "l2_normalize_backward"};

}  // namespace sked::kernel
