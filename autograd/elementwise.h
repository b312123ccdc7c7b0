#pragma once
// Element-wise ops. Binary ops broadcast by NumPy's rule; gradients are summed back to each operand's shape.

#include "autograd/var.h"
#include "core/kernels/elementwise.h"

namespace sked {

/// y = f(x); dx = dy f'(x). Saves x, or y for ReLU.
Var unary(const Var& x, Unary op);
inline Var exp(const Var& x) { return unary(x, Unary::exp); }
inline Var log(const Var& x) { return unary(x, Unary::log); }
inline Var sqrt(const Var& x) { return unary(x, Unary::sqrt); }
inline Var reciprocal(const Var& x) { return unary(x, Unary::reciprocal); }
inline Var square(const Var& x) { return unary(x, Unary::square); }
inline Var abs(const Var& x) { return unary(x, Unary::abs); }
inline Var relu(const Var& x) { return unary(x, Unary::relu); }
inline Var gelu(const Var& x) { return unary(x, Unary::gelu); }
inline Var gelu_tanh(const Var& x) { return unary(x, Unary::gelu_tanh); }
inline Var sigmoid(const Var& x) { return unary(x, Unary::sigmoid); }
inline Var log_sigmoid(const Var& x) { return unary(x, Unary::log_sigmoid); }
inline Var softplus(const Var& x) { return unary(x, Unary::softplus); }
inline Var tanh(const Var& x) { return unary(x, Unary::tanh); }

/// a + b: da = dy, db = dy.
Var operator+(const Var& a, const Var& b);
/// a − b: da = dy, db = −dy.
Var operator-(const Var& a, const Var& b);
/// a b: da = dy b, db = dy a. Saves a for db, b for da.
Var operator*(const Var& a, const Var& b);
/// a / b: da = dy / b, db = −dy y / b. Saves b, and y for db.
Var operator/(const Var& a, const Var& b);
/// Larger / smaller of the two; the whole gradient goes to `a` on ties. Saves a and b.
Var maximum(const Var& a, const Var& b);
Var minimum(const Var& a, const Var& b);

/// x in another floating dtype; x itself where that is its own. dx = dy in x's dtype. Saves nothing.
Var cast(const Var& x, DType dtype);

/// alpha x + beta with constants: dx = alpha dy. Saves nothing.
Var affine(const Var& x, double alpha, double beta);
inline Var operator*(const Var& x, double c) { return affine(x, c, 0); }
inline Var operator*(double c, const Var& x) { return affine(x, c, 0); }
inline Var operator/(const Var& x, double c) { return affine(x, 1 / c, 0); }
inline Var operator+(const Var& x, double c) { return affine(x, 1, c); }
inline Var operator-(const Var& x, double c) { return affine(x, 1, -c); }
inline Var operator-(double c, const Var& x) { return affine(x, -1, c); }
inline Var operator-(const Var& x) { return affine(x, -1, 0); }

}  // namespace sked
