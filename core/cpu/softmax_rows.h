#pragma once
// One contiguous row of the softmax family, shared with attention. Written so that the compiler vectorizes every loop.

#include <cmath>
#include <cstdint>
#include <limits>

#include "core/math.h"

namespace sked::cpu {

/// What may be subtracted from a row whose maximum is `max`: 0 where the row is empty, all −∞ or holds +∞, so that no ∞
/// − ∞ arises.
template <class T>
T finite_shift(T max) {
  return std::isfinite(max) ? max : T{0};
}

/// sum = Σ_k exp(x[k] − shift), with shift = the maximum of x[k], which may be stored in bf16.
template <class T>
struct RowSum {
  T shift, sum = 0;

  RowSum(T shift, T sum) : shift(shift), sum(sum) {}
  template <class Stored>
  RowSum(const Stored* x, int64_t K) {
    T max = -std::numeric_limits<T>::infinity();
#pragma omp simd reduction(max : max)
    for (int64_t k = 0; k < K; ++k) {
      const T value = T(x[k]);
      max = value > max ? value : max;
    }
    const T highest = finite_shift(max);
    T total = 0;
#pragma omp simd reduction(+ : total)
    for (int64_t k = 0; k < K; ++k) total += math::exp(T(x[k]) - highest);
    shift = highest;
    sum = total;
  }
  T logsumexp() const { return shift + math::log(sum); }
};

/// y = softmax(scale x) of one row (y may be x); returns logsumexp(scale x).
template <class T>
T softmax_row(const T* x, int64_t K, T scale, T* y) {
  T max = -std::numeric_limits<T>::infinity(), sum = 0;
#pragma omp simd reduction(max : max)
  for (int64_t k = 0; k < K; ++k) max = x[k] > max ? x[k] : max;
  const T shift = finite_shift(scale * max);
#pragma omp simd reduction(+ : sum)
  for (int64_t k = 0; k < K; ++k) {
    y[k] = math::exp(scale * x[k] - shift);
    sum += y[k];
  }
  const T share = T{1} / sum;
#pragma omp simd
  for (int64_t k = 0; k < K; ++k) y[k] *= share;
  return shift + math::log(sum);
}

}  // namespace sked::cpu
