#include "tests/common/kernel_check.h"

#include <doctest/doctest.h>
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/kernel.h"

namespace sked::test {
namespace {

Tensor as(const Tensor& t, DType dtype) { return t.defined() && is_floating(t.dtype()) ? t.to(dtype) : t; }

TensorList run(const OldCase& c, DType dtype) {
  TensorList in, out;
  for (const Tensor& t : c.inputs) in.push_back(as(t, dtype));
  for (size_t i = 0; i < c.expected.size(); ++i) {
    const Tensor& like = c.expected[i];
    if (!like.defined()) {
      out.emplace_back();
    } else if (i < c.before.size() && c.before[i].defined()) {
      out.push_back(as(c.before[i], dtype).clone());
    } else {
      const bool floating = is_floating(like.dtype());
      out.push_back(Tensor::full(like.shape(), floating ? std::numeric_limits<double>::quiet_NaN() : 99,
                                 floating ? dtype : like.dtype()));
    }
  }
  c.call(in, out);
  return out;
}

/// In f32.
TensorList run_with_threads(const OldCase& c, int threads) {
  const int before = omp_get_max_threads();
  omp_set_num_threads(threads);
  TensorList out = run(c, DType::f32);
  omp_set_num_threads(before);
  return out;
}

void compare(const OldCase& c, const TensorList& out, const char* way, double tolerance) {
  for (size_t i = 0; i < c.expected.size(); ++i) {
    if (c.expected[i].defined())
      check_close(c.name + ", " + way + ", output " + std::to_string(i), out[i], c.expected[i], tolerance, c.scale);
  }
}

}  // namespace

void check_kernel(const OldCase& c) {
  CAPTURE(c.name);
  {
    const ReferenceOnly definition;
    compare(c, run(c, DType::f64), "definition in f64", 1e-12);
    const TensorList one = run_with_threads(c, 1), two = run_with_threads(c, 2);
    compare(c, two, "definition in f32", c.tolerance);
    for (size_t i = 0; i < one.size(); ++i) {
      if (one[i].defined())
        CHECK_MESSAGE(same_bits(one[i], two[i]), c.name, ": one and two threads differ in output ", i);
    }
  }
  for (const int threads : {1, 2}) compare(c, run_with_threads(c, threads), "as it is called", c.tolerance);
}

}  // namespace sked::test
