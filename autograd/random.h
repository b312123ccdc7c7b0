#pragma once
// Addressed dropout: the mask is regenerated in the backward pass, so nothing is saved.

#include "autograd/var.h"
#include "core/rng.h"

namespace sked {

/// y = x · keep/(1−p). Identity for p = 0. Row 0 of x (B,…) is row `first_row` of the whole batch: the mask is those
/// rows of the whole batch's.
Var dropout(const Var& x, double p, const RngAddress& address, int64_t first_row = 0);
/// The same with one draw per example (row of the first axis): stochastic depth.
Var drop_path(const Var& x, double p, const RngAddress& address, int64_t first_row = 0);

}  // namespace sked
