#pragma once
// What the kernels' tests share: random tensors, comparison with a reference computed in double, thread counts.

#include <doctest/doctest.h>
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "core/rng.h"
#include "core/tensor.h"

namespace sked::test {

/// Uniform numbers in [low, high), the same on every run; `salt` tells tensors apart.
inline Tensor random_tensor(const Shape& shape, DType dtype, uint64_t salt, double low = -2.0, double high = 2.0) {
  Rng rng({/*seed=*/7, /*stream=*/salt, /*step=*/0});
  std::vector<double> values(static_cast<size_t>(shape.numel()));
  for (double& v : values) v = low + (high - low) * static_cast<double>(rng.uniform());
  return Tensor::from(values, shape).to(dtype);
}

inline Tensor random_indices(int64_t count, int64_t limit, uint64_t salt) {
  Rng rng({/*seed=*/8, /*stream=*/salt, /*step=*/0});
  std::vector<int64_t> values(static_cast<size_t>(count));
  for (int64_t& v : values) v = rng.below(static_cast<uint32_t>(limit));
  return Tensor::from(values, {count});
}

/// Every element within tolerance · max(1, |expected|); NaN and ∞ only where expected. Reports the worst element.
inline void check_close(const std::vector<double>& got, const std::vector<double>& expected, double tolerance,
                        const std::string& what) {
  REQUIRE_MESSAGE(got.size() == expected.size(),
                  what << ": " << got.size() << " elements, expected " << expected.size());
  double worst = 0.0;
  size_t at = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    double error = std::abs(got[i] - expected[i]) / std::max(1.0, std::abs(expected[i]));
    if (got[i] == expected[i] || (std::isnan(got[i]) && std::isnan(expected[i]))) error = 0.0;
    if (error <= worst) continue;  // false for NaN as well
    worst = error;
    at = i;
    if (std::isnan(error)) break;
  }
  CHECK_MESSAGE(worst <= tolerance, what << " [" << at << "]: got " << (got.empty() ? 0.0 : got[at]) << ", expected "
                                         << (got.empty() ? 0.0 : expected[at]) << ", error " << worst << ", tolerance "
                                         << tolerance);
}

inline void check_close(const Tensor& got, const std::vector<double>& expected, double tolerance,
                        const std::string& what) {
  check_close(got.to_vector<double>(), expected, tolerance, what + " " + got.str());
}

/// Same dtype, shape and values, NaN equal to NaN.
inline void check_identical(const Tensor& a, const Tensor& b, const std::string& what) {
  REQUIRE(a.dtype() == b.dtype());
  REQUIRE(a.shape() == b.shape());
  check_close(a, b.to_vector<double>(), 0.0, what);
}

/// Runs with so many threads while it lives.
class Threads {
 public:
  explicit Threads(int count) : before_(omp_get_max_threads()) { omp_set_num_threads(count); }
  ~Threads() { omp_set_num_threads(before_); }
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;

 private:
  int before_;
};

/// Checks that f() → Tensor gives the same bits on one thread and on two or three.
template <class F>
void check_same_for_any_threads(F f, const std::string& what) {
  Tensor one;
  {
    const Threads threads(1);
    one = f();
  }
  for (int count : {2, 3}) {
    const Threads threads(count);
    check_identical(f(), one, what + " on " + std::to_string(count) + " threads");
  }
}

}  // namespace sked::test
