#pragma once
// Layer norm; formulas in core/kernels/layer_norm.h.

#include "autograd/var.h"

namespace sked {

/// Each row of the last axis: x (…,D), γ, β (D) or both undefined. Saves x, mean and rstd.
Var layer_norm(const Var& x, const Var& gamma, const Var& beta, double eps = 1e-6);

}  // namespace sked
