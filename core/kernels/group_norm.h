#pragma once
// Normalization by the statistics of an image's groups of channels. x̂ = (x − mean) · rstd with
// rstd = 1/sqrt(var + eps) and the biased variance; y = γ x̂ + β.

#include "core/kernel.h"

namespace sked {

/// N images of P positions and C channels in groups of `width` channels.
struct GroupNormSizes {
  int64_t N, P, C, groups, width;
};
inline GroupNormSizes group_norm_sizes(const Tensor& x, int64_t groups) {
  return {x.dim(0), x.dim(1), x.dim(2), groups, x.dim(2) / groups};
}

}  // namespace sked

namespace sked::kernel {

/// Group norm (Wu & He, arXiv 1803.08494): x (N,P,C) with P positions, statistics over P and the C/groups channels of a
/// group; γ, β (C); mean, rstd (N, groups) saved.
inline Kernel<void(const Tensor& x, const Tensor& gamma, const Tensor& beta, Tensor& y, Tensor& mean, Tensor& rstd,
                   int64_t groups, double eps)>
    group_norm_forward{"group_norm_forward"};
inline Kernel<void(const Tensor& dy, const Tensor& x, const Tensor& gamma, const Tensor& mean, const Tensor& rstd,
                   Tensor& dx, Tensor& dgamma, Tensor& dbeta, int64_t groups)>
    group_norm_backward{"group_norm_backward"};

}  // namespace sked::kernel
