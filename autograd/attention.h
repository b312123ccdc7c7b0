#pragma once
// Multi-head scaled dot-product attention on packed projections; formulas in core/kernels/attention.h.

#include "autograd/var.h"

namespace sked {

/// qkv (N,T,3·H·E) as one linear layer writes it (q, k, v, each H heads of width E) -> (N,T,H·E), scale 1/sqrt(E).
/// Saves qkv, y and each query's log-sum-exp (N,H,T); recomputes the probabilities.
Var attention(const Var& qkv, int64_t heads, bool causal = false);

}  // namespace sked
