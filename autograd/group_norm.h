#pragma once
// Group norm; formulas in core/kernels/group_norm.h.

#include "autograd/var.h"

namespace sked {

/// x (N,H,W,C) or (N,P,C), γ, β (C); `groups` divides C. Saves x, mean and rstd.
Var group_norm(const Var& x, const Var& gamma, const Var& beta, int64_t groups, double eps = 1e-5);

}  // namespace sked
