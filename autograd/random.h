#pragma once
// Addressed dropout: the mask is regenerated in the backward pass, so nothing is saved.

#include "autograd/var.h"
#include "core/rng.h"

namespace sked {

/// y = x · keep/(1−p). Identity for p = 0.
Var dropout(const Var& x, double p, const RngAddress& address);
/// The same with one draw per example (row of the first axis): stochastic depth.
Var drop_path(const Var& x, double p, const RngAddress& address);

}  // namespace sked
