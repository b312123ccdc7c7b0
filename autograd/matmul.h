#pragma once
// Matrix products.

#include "autograd/var.h"
#include "core/kernels/elementwise.h"

namespace sked {

/// y = op(a) op(b), op transposing the last two axes when asked; leading axes equal, or absent in b, which is then
/// shared. Without transposition: da = dy bᵀ, db = aᵀ dy. Saves a and b.
Var matmul(const Var& a, const Var& b, bool transpose_a = false, bool transpose_b = false);

/// y (…,O) = act(x (…,I) wᵀ + b), w (O,I), b (O) or undefined; beside x in bf16 they may be f32 masters, and their
/// gradients are then f32. Saves x, w and, under an activation, x wᵀ + b (GELUs) or y (ReLU).
Var linear(const Var& x, const Var& w, const Var& b = {}, Activation act = Activation::none);

/// Two linear layers with an activation between them: y (…,O) = act(x (…,I) w1ᵀ + b1) w2ᵀ + b2; w1 (M,I), w2 (O,M), b1
/// (M) and b2 (O) both or neither. What linear(linear(x, w1, b1, act), w2, b2) gives; the gradient goes back through
/// the second layer and the activation in one kernel. Saves x, the weights, act(…) and, under a GELU, x w1ᵀ + b1.
Var mlp(const Var& x, const Var& w1, const Var& b1, const Var& w2, const Var& b2, Activation act);

}  // namespace sked
