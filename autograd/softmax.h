#pragma once
// Softmax over the last axis.

#include "autograd/var.h"

namespace sked {

/// y = exp(x − logsumexp x); dx = y (dy − Σ dy y). Saves y.
Var softmax(const Var& x);
/// y = x − logsumexp x; dx = dy − exp(y) Σ dy. Saves y.
Var log_softmax(const Var& x);

}  // namespace sked
