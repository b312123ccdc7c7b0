#pragma once
// Rows brought to length 1; formulas in core/kernels/l2_normalize.h.

#include "autograd/var.h"
#include "core/kernels/l2_normalize.h"

namespace sked {

/// Each row of the last axis brought to length 1: x (…,D) / sqrt(Σ_d x² + eps). A row of zeros stays zero, and its
/// gradient, dy / sqrt(eps), finite. Saves y and each row's factor.
Var l2_normalize(const Var& x, double eps = kLengthEps);

}  // namespace sked
