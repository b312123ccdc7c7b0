#pragma once
// Normalization by the statistics of each row. x̂ = (x − mean) · rstd with rstd = 1/sqrt(var + eps) and the biased
// variance; y = γ x̂ + β.

#include "core/kernel.h"

namespace sked::kernel {

/// Layer norm (Ba et al., arXiv 1607.06450) of each row: x (N,D), γ, β (D) or both undefined (then y = x̂), mean, rstd
/// (N) saved. With a residual (N,D) of x + residual, as `sum` (N,D) stores it; both undefined without.
inline Kernel<void(const Tensor& x, const Tensor& residual, const Tensor& gamma, const Tensor& beta, Tensor& sum,
                   Tensor& y, Tensor& mean, Tensor& rstd, double eps)>
    layer_norm_forward{"layer_norm_forward"};

/// With g = dy γ: dx = rstd (g − mean_j g − x̂ mean_j (g x̂)) [+ residual], dγ = Σ_n dy x̂, dβ = Σ_n dy (both skipped
/// where undefined). residual (N,D) or undefined: the gradient that reaches x past the norm.
inline Kernel<void(const Tensor& dy, const Tensor& x, const Tensor& gamma, const Tensor& mean, const Tensor& rstd,
                   const Tensor& residual, Tensor& dx, Tensor& dgamma, Tensor& dbeta)>
    layer_norm_backward{"layer_norm_backward"};

}  // namespace sked::kernel
