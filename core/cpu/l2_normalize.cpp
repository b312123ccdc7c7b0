// Rows brought to length 1: each is read from memory once and stays in cache for its length and its output.

#include <cmath>

#include "core/cpu/parallel.h"
#include "core/kernels/l2_normalize.h"

namespace sked::cpu {
namespace {

template <class T>
T dot(const T* a, const T* b, int64_t D) {
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t d = 0; d < D; ++d) sum += a[d] * b[d];
  return sum;
}

void l2_normalize_forward(const Tensor& x, Tensor& y, Tensor& r, double eps) {
  const int64_t N = x.dim(0), D = x.dim(1);
  visit_float(x.dtype(), "l2_normalize_forward", [&, N = N, D = D]<class T>(T) {
    const T* in = x.data<T>();
    T *out = y.data<T>(), *scale = r.data<T>();
#pragma omp parallel for schedule(static) if (N * D > kLight)
    for (int64_t n = 0; n < N; ++n) {
      const T* row = in + n * D;
      const T s = T{1} / std::sqrt(dot(row, row, D) + static_cast<T>(eps));
      scale[n] = s;
#pragma omp simd
      for (int64_t d = 0; d < D; ++d) out[n * D + d] = row[d] * s;
    }
  });
}

void l2_normalize_backward(const Tensor& dy, const Tensor& y, const Tensor& r, Tensor& dx) {
  const int64_t N = y.dim(0), D = y.dim(1);
  visit_float(y.dtype(), "l2_normalize_backward", [&, N = N, D = D]<class T>(T) {
    const T *g = dy.data<T>(), *in = y.data<T>(), *scale = r.data<T>();
    T* out = dx.data<T>();
#pragma omp parallel for schedule(static) if (N * D > kLight)
    for (int64_t n = 0; n < N; ++n) {
      const T *up = g + n * D, *row = in + n * D;
      const T along = dot(up, row, D), s = scale[n];
#pragma omp simd
      for (int64_t d = 0; d < D; ++d) out[n * D + d] = s * (up[d] - row[d] * along);
    }
  });
}

[[maybe_unused]] const bool registered = kernel::l2_normalize_forward.define(Device::cpu, l2_normalize_forward) &&
                                         kernel::l2_normalize_backward.define(Device::cpu, l2_normalize_backward);

}  // namespace
}  // namespace sked::cpu
