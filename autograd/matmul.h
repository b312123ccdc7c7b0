#pragma once
// Matrix products.

#include "autograd/var.h"
#include "core/kernels/elementwise.h"

namespace sked {

/// y = op(a) op(b), op transposing the last two axes when asked; leading axes equal, or absent in b, which is then
/// shared. Without transposition: da = dy bᵀ, db = aᵀ dy. Saves a and b.
Var matmul(const Var& a, const Var& b, bool transpose_a = false, bool transpose_b = false);

/// y (…,O) = act(x (…,I) wᵀ + b), w (O,I), b (O) or undefined; beside x in bf16 they may be f32 masters, and their
/// gradients are then f32. Saves x, w and, under an activation, x wᵀ + b (GELU) or y (ReLU).
Var linear(const Var& x, const Var& w, const Var& b = {}, Activation act = Activation::none);

}  // namespace sked
