#pragma once
// Layer norm; formulas in core/kernels/layer_norm.h.

#include "autograd/var.h"

namespace sked {

/// Each row of the last axis: x (…,D), γ, β (D) or both undefined. Saves x, mean and rstd.
Var layer_norm(const Var& x, const Var& gamma, const Var& beta, double eps = 1e-6);

/// A residual connection and the layer norm behind it, in one pass over the rows.
struct NormedSum {
  Var sum, normed;
};

/// sum = x + branch, of one shape (…,D) and dtype, and normed = layer_norm(sum, γ, β), both with the gradients of the
/// two ops apart.
NormedSum add_layer_norm(const Var& x, const Var& branch, const Var& gamma, const Var& beta, double eps = 1e-6);

}  // namespace sked
