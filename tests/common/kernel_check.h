#pragma once
// Holds a kernel to an independent reference in every way it can run on the CPU.

#include <functional>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "tests/common/compare.h"

namespace sked::test {

/// One call of a kernel with what it must give. Inputs are f32 (or i64; undefined ones stay so), expected outputs f64
/// (or u8).
struct OldCase {
  std::string name;
  TensorList inputs, expected;
  std::function<void(const TensorList& in, TensorList& out)> call;
  /// Of f32 results, relative to the largest |expected| of the output.
  double tolerance = 1e-6;
  /// What outputs hold before the call, for kernels that update them; else they hold NaN, so that a forgotten element
  /// shows.
  TensorList before = {};
  /// The largest |expected| counts as at least this: the size of the terms, where they may cancel.
  double scale = 0;
};

/// Compares with `expected`: the definition in f64 (to 1e-12); the definition in f32 with one thread and, bit for bit
/// the same, with two; and the tuned f32 version, where there is one.
void check_kernel(const OldCase& c);

/// An f64 tensor of `values`.
inline Tensor doubles(const std::vector<double>& values, const Shape& shape) { return Tensor::from(values, shape); }

}  // namespace sked::test
