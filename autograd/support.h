#pragma once
// What several families share beside the tape.

#include <vector>

#include "autograd/var.h"
#include "core/kernels/reduce.h"

namespace sked::detail {

/// Uninitialized, of another shape, in the dtype and on the device of `like`.
inline Tensor empty(const Shape& shape, const Tensor& like) {
  return Tensor::empty(shape, like.dtype(), like.device());
}

/// Uninitialized statistics of `x`, saved for the backward pass: f32 beside bf16, which would lose what they are for.
inline Tensor empty_statistics(const Shape& shape, const Tensor& x) {
  return Tensor::empty(shape, x.dtype() == DType::bf16 ? DType::f32 : x.dtype(), x.device());
}

/// The tensor of an operand that may be left out.
inline Tensor value_or_undefined(const Var& x) { return x.defined() ? x.value() : Tensor(); }

/// An uninitialized gradient for `x` where it needs one, else undefined.
inline Tensor gradient_for(bool needed, const Tensor& x) { return needed ? Tensor::like(x) : Tensor(); }

/// Will record() keep the backward of an op on these inputs? Asked by ops whose forward can skip what only it needs.
inline bool on_tape(const std::vector<Var>& inputs) {
  if (!NoGrad::recording()) return false;
  for (const Var& input : inputs) {
    if (input.requires_grad()) return true;
  }
  return false;
}

/// (outer, n, inner) of one axis.
inline ReduceView view_of(const Shape& shape, int axis) {
  const int i = shape.axis(axis);
  return {shape.product(0, i), shape[i], shape.product(i + 1, shape.ndim())};
}

/// Throws unless γ and β have one number for each of x's channels, in x's dtype or, beside bf16, in f32.
inline void check_scale_shift(const Var& gamma, const Var& beta, const Var& x, const char* where) {
  const Shape channels{x.dim(-1)};
  require_shape(gamma.value(), channels, where, "gamma");
  require_shape(beta.value(), channels, where, "beta");
  require_master(x.value(), gamma.value(), where);
}

}  // namespace sked::detail
