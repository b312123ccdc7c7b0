#pragma once
// Scaled dot-product attention (Vaswani et al., arXiv 1706.03762) on packed projections.

#include "core/kernel.h"

namespace sked {

/// qkv (N,T,3,H,E).
struct AttentionSizes {
  int64_t N, T, H, E;
};
inline AttentionSizes attention_sizes(const Tensor& qkv) { return {qkv.dim(0), qkv.dim(1), qkv.dim(3), qkv.dim(4)}; }

}  // namespace sked

namespace sked::kernel {

/// For each image n and head h: P = softmax(scale q kᵀ), scale > 0, over the keys (keys ≤ query when causal), y = P v.
/// qkv (N,T,3,H,E): q, k, v of T tokens, H heads of width E, as one linear layer writes them; y (N,T,H,E);
/// lse (N,H,T): each query's log-sum-exp, saved so that the backward pass recomputes P instead of storing N·H·T²
/// numbers (FlashAttention, Dao et al., arXiv 2205.14135). 4 N H T² E operations.
inline Kernel<void(const Tensor& qkv, Tensor& y, Tensor& lse, double scale, bool causal)> attention_forward{
    "attention_forward"};

/// dP = dy vᵀ, dS = P (dP − Σ_e dy y), dq = scale dS k, dk = scale dSᵀ q, dv = Pᵀ dy, packed as dqkv (N,T,3,H,E).
inline Kernel<void(const Tensor& dy, const Tensor& qkv, const Tensor& y, const Tensor& lse, Tensor& dqkv, double scale,
                   bool causal)>
    attention_backward{"attention_backward"};

}  // namespace sked::kernel
