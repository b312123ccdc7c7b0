#pragma once
// One case per differentiable op and way of using it. The same table drives the gradient check and the comparison with
// PyTorch (tests/fixtures/ops.py has the same cases by name). A case's name is `op` or `op/variant`; every op declared
// in autograd/*.h needs one.

#include <functional>
#include <string>
#include <vector>

#include "autograd/var.h"

namespace sked::test {

/// An input as data: uniform in [lo, hi) by the formula of tests/common/hash_weights.h, salted with `<case>/<index>`.
/// An element nearer than kMargin to a kink of the op is moved to that distance.
struct OpInput {
  Shape shape;
  float lo = -2, hi = 2;
  std::vector<float> kinks = {};
};

inline constexpr float kMargin = 0x1p-6F;

struct OpCase {
  std::string name;
  std::vector<OpInput> inputs;
  /// Works in the dtype of its inputs (f32 or f64).
  std::function<Var(const std::vector<Var>&)> f;
  /// For ops that compare elements with each other: all elements of all inputs must lie further apart than a difference
  /// step.
  bool apart = false;
};

/// Inputs of a case, in f32 or f64 (the same numbers).
TensorList op_inputs(const OpCase& op, DType dtype);

/// Every case.
std::vector<OpCase> op_cases();

// By family; op_cases() joins them.
std::vector<OpCase> elementwise_cases();
std::vector<OpCase> reduce_cases();
std::vector<OpCase> shape_cases();
std::vector<OpCase> matmul_cases();
std::vector<OpCase> conv_cases();
std::vector<OpCase> norm_cases();
std::vector<OpCase> other_cases();  // softmax, attention, index, random, loss

/// A constant of the given dtype.
Tensor constant(const std::vector<double>& values, const Shape& shape, DType dtype);

}  // namespace sked::test
