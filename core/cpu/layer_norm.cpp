// Layer norm: each row is read from memory once and stays in cache for its mean, its variance and its output.

#include <cmath>

#include "core/cpu/rows.h"
#include "core/kernels/layer_norm.h"

namespace sked::cpu {
namespace {

void layer_norm_forward(const Tensor& x, const Tensor& gamma, const Tensor& beta, Tensor& y, Tensor& mean, Tensor& rstd,
                        double eps) {
  const char* where = "layer_norm_forward";
  const int64_t N = x.dim(0), D = x.dim(1);
  visit_float(x.dtype(), where, [&, N = N, D = D]<class T>(T) {
    const T *in = x.data<T>(), *scale = gamma.defined() ? gamma.data<T>() : nullptr;
    const T* shift = beta.defined() ? beta.data<T>() : nullptr;
    T *out = y.data<T>(), *mu = mean.data<T>(), *r = rstd.data<T>();
#pragma omp parallel for schedule(static)
    for (int64_t n = 0; n < N; ++n) {
      const T* row = in + n * D;
      T sum = 0, squares = 0;
#pragma omp simd reduction(+ : sum)
      for (int64_t d = 0; d < D; ++d) sum += row[d];
      const T m = sum / static_cast<T>(D);
#pragma omp simd reduction(+ : squares)
      for (int64_t d = 0; d < D; ++d) squares += (row[d] - m) * (row[d] - m);
      const T s = T{1} / std::sqrt(squares / static_cast<T>(D) + static_cast<T>(eps));
      mu[n] = m;
      r[n] = s;
#pragma omp simd
      for (int64_t d = 0; d < D; ++d) {
        const T xhat = (row[d] - m) * s;
        out[n * D + d] = scale ? scale[d] * xhat + shift[d] : xhat;
      }
    }
  });
}

/// One row of the backward pass; `residual`, unless null, is added; `sums`, unless null, gathers dy x̂ (D) and dy (D).
template <class T>
void backward_row(const T* dy, const T* x, const T* gamma, T mean, T rstd, const T* residual, int64_t D, T* dx,
                  T* sums) {
  T mean_g = 0, mean_gx = 0;
#pragma omp simd reduction(+ : mean_g, mean_gx)
  for (int64_t d = 0; d < D; ++d) {
    const T g = gamma ? dy[d] * gamma[d] : dy[d];
    mean_g += g;
    mean_gx += g * (x[d] - mean);
  }
  mean_g /= static_cast<T>(D);
  mean_gx *= rstd / static_cast<T>(D);
  if (sums) {
#pragma omp simd
    for (int64_t d = 0; d < D; ++d) {
      sums[d] += dy[d] * ((x[d] - mean) * rstd);
      sums[D + d] += dy[d];
    }
  }
#pragma omp simd
  for (int64_t d = 0; d < D; ++d) {
    const T g = gamma ? dy[d] * gamma[d] : dy[d];
    const T through = rstd * (g - mean_g - (x[d] - mean) * rstd * mean_gx);
    dx[d] = residual ? through + residual[d] : through;
  }
}

void layer_norm_backward(const Tensor& dy, const Tensor& x, const Tensor& gamma, const Tensor& mean, const Tensor& rstd,
                         const Tensor& residual, Tensor& dx, Tensor& dgamma, Tensor& dbeta) {
  const char* where = "layer_norm_backward";
  const int64_t N = x.dim(0), D = x.dim(1);
  visit_float(x.dtype(), where, [&, N = N, D = D]<class T>(T) {
    const T *g = dy.data<T>(), *in = x.data<T>(), *scale = gamma.defined() ? gamma.data<T>() : nullptr;
    const T *mu = mean.data<T>(), *r = rstd.data<T>(), *add = residual.defined() ? residual.data<T>() : nullptr;
    T* out = dx.data<T>();
    const int64_t width = dgamma.defined() || dbeta.defined() ? 2 * D : 0;
    Tensor sums = Tensor::empty({width}, x.dtype());
    sum_over_rows(N, width, sums.data<T>(), [=, D = D](int64_t begin, int64_t end, T* partial) {
      for (int64_t n = begin; n < end; ++n)
        backward_row(g + n * D, in + n * D, scale, mu[n], r[n], add ? add + n * D : nullptr, D, out + n * D,
                     width ? partial : nullptr);
    });
    if (dgamma.defined()) std::copy_n(sums.data<T>(), D, dgamma.data<T>());
    if (dbeta.defined()) std::copy_n(sums.data<T>() + D, D, dbeta.data<T>());
  });
}

[[maybe_unused]] const bool registered = kernel::layer_norm_forward.define(Device::cpu, layer_norm_forward) &&
                                         kernel::layer_norm_backward.define(Device::cpu, layer_norm_backward);

}  // namespace
}  // namespace sked::cpu
