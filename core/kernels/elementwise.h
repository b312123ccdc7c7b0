#pragma once
// Element-wise functions. The arithmetic of each is written once, in core/kernels/functors.h, for every backend.

#include "core/kernel.h"

namespace sked {

/// y = f(x); the formulas and derivatives are in functors.h.
/// gelu is x Φ(x) (Hendrycks & Gimpel, arXiv 1606.08415); gelu_tanh its tanh approximation.
enum class Unary {
  neg,
  exp,
  log,
  sqrt,
  reciprocal,
  square,
  abs,
  relu,
  gelu,
  gelu_tanh,
  sigmoid,
  log_sigmoid,
  softplus,
  tanh
};

/// y = f(a, b). max and min give the whole gradient to `a` on ties.
enum class Binary { add, sub, mul, div, max, min };

/// The activation fused behind a linear layer or a norm.
enum class Activation { none, relu, gelu, gelu_tanh };
/// The same as a function of its own; not for none.
Unary unary_of(Activation activation);

const char* name(Unary op);
const char* name(Binary op);
const char* name(Activation activation);

}  // namespace sked

namespace sked::kernel {

/// y = f(x). Same shape; f32, f64. y may be x.
inline Kernel<void(const Tensor& x, Tensor& y, Unary op)> unary_forward{"unary_forward"};

/// dx = dy f'(x). At kinks: relu'(0) = 0, abs'(0) = 0. dx may be dy.
inline Kernel<void(const Tensor& x, const Tensor& dy, Tensor& dx, Unary op)> unary_backward{"unary_backward"};

/// y = f(a, b), both broadcast to y's shape (= broadcast(a.shape(), b.shape())). f32, f64. y may be an operand of y's
/// shape.
inline Kernel<void(const Tensor& a, const Tensor& b, Tensor& y, Binary op)> binary_forward{"binary_forward"};

/// y = alpha x + beta. y may be x.
inline Kernel<void(const Tensor& x, Tensor& y, double alpha, double beta)> affine{"affine"};

/// mask[i] = 1 where binary op (max or min) took a, else 0; operands broadcast as in binary_forward, mask in their
/// dtype.
inline Kernel<void(const Tensor& a, const Tensor& b, Tensor& mask, Binary op)> binary_took_first{"binary_took_first"};

}  // namespace sked::kernel
