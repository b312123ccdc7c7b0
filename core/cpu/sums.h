#pragma once
// Long sums whose order depends on their length alone, never on the number of threads.

#include <algorithm>
#include <cstdint>

#include "core/dtype.h"

namespace sked::cpu {

/// Σ_i f(x[i]), i < n, in f64: sixteen running sums side by side, which a compiler turns into vectors, added up at the
/// end.
template <class T, class F>
double lane_sum(const T* x, int64_t n, F f) {
  constexpr int64_t kLanes = 16;
  double lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
#pragma omp simd
    for (int64_t k = 0; k < kLanes; ++k) lanes[k] += f(static_cast<double>(Arithmetic<T>(x[i + k])));
  }
  for (int64_t k = 0; i < n; ++i, ++k) lanes[k] += f(static_cast<double>(Arithmetic<T>(x[i])));
  for (int64_t half = kLanes / 2; half > 0; half /= 2) {
    for (int64_t k = 0; k < half; ++k) lanes[k] += lanes[k + half];
  }
  return lanes[0];
}

}  // namespace sked::cpu
