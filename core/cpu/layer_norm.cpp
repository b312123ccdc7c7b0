// Layer norm: each row is read from memory once and stays in cache for its mean, its variance and its output.

#include <cmath>
#include <tuple>
#include <utility>

#include "core/cpu/rows.h"
#include "core/kernels/layer_norm.h"

namespace sked::cpu {
namespace {

/// The elements of a defined tensor, else null.
template <class T>
const T* or_null(const Tensor& t) {
  return t.defined() ? t.data<T>() : nullptr;
}

/// total ← x + residual.
template <class T, class A = Arithmetic<T>>
void add_row(const T* x, const T* residual, int64_t D, T* total) {
#pragma omp simd
  for (int64_t d = 0; d < D; ++d) store(A(x[d]) + A(residual[d]), total[d]);
}

/// One row's y; returns its mean and its rstd.
template <class T, class A = Arithmetic<T>>
std::pair<A, A> forward_row(const T* x, const A* gamma, const A* beta, int64_t D, A eps, T* y) {
  A sum = 0, squares = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t d = 0; d < D; ++d) sum += A(x[d]);
  const A mean = sum / static_cast<A>(D);
#pragma omp simd reduction(+ : squares)
  for (int64_t d = 0; d < D; ++d) squares += (A(x[d]) - mean) * (A(x[d]) - mean);
  const A rstd = A{1} / std::sqrt(squares / static_cast<A>(D) + eps);
#pragma omp simd
  for (int64_t d = 0; d < D; ++d) {
    const A xhat = (A(x[d]) - mean) * rstd;
    store(gamma ? gamma[d] * xhat + beta[d] : xhat, y[d]);
  }
  return {mean, rstd};
}

// x and y, and their gradients, are read and written as they are stored; what is small is widened.

void layer_norm_forward(const Tensor& x, const Tensor& residual, const Tensor& gamma, const Tensor& beta, Tensor& sum,
                        Tensor& y, Tensor& mean, Tensor& rstd, double eps) {
  const int64_t N = x.dim(0), D = x.dim(1);
  detail::Widened<const Tensor&> scale(gamma), shift(beta);
  detail::Widened<Tensor&> means(mean), rstds(rstd);
  visit_stored(x.dtype(), "layer_norm_forward", [&, N = N, D = D]<class T>(T) {
    using A = Arithmetic<T>;
    const T *in = x.data<T>(), *add = or_null<T>(residual);
    const A *g = or_null<A>(scale.get()), *b = or_null<A>(shift.get());
    T *total = add ? sum.data<T>() : nullptr, *out = y.data<T>();
    A *mu = means.get().data<A>(), *r = rstds.get().data<A>();
#pragma omp parallel for schedule(static)
    for (int64_t n = 0; n < N; ++n) {
      if (add) add_row(in + n * D, add + n * D, D, total + n * D);
      std::tie(mu[n], r[n]) = forward_row<T>((add ? total : in) + n * D, g, b, D, static_cast<A>(eps), out + n * D);
    }
  });
  means.finish();
  rstds.finish();
}

/// One row of the backward pass; `residual`, unless null, is added; `sums`, unless null, gathers dy x̂ (D) and dy (D).
template <class T, class A = Arithmetic<T>>
void backward_row(const T* dy, const T* x, const A* gamma, A mean, A rstd, const T* residual, int64_t D, T* dx,
                  A* sums) {
  A mean_g = 0, mean_gx = 0;
#pragma omp simd reduction(+ : mean_g, mean_gx)
  for (int64_t d = 0; d < D; ++d) {
    const A g = gamma ? A(dy[d]) * gamma[d] : A(dy[d]);
    mean_g += g;
    mean_gx += g * (A(x[d]) - mean);
  }
  mean_g /= static_cast<A>(D);
  mean_gx *= rstd / static_cast<A>(D);
  if (sums) {
#pragma omp simd
    for (int64_t d = 0; d < D; ++d) {
      sums[d] += A(dy[d]) * ((A(x[d]) - mean) * rstd);
      sums[D + d] += A(dy[d]);
    }
  }
#pragma omp simd
  for (int64_t d = 0; d < D; ++d) {
    const A g = gamma ? A(dy[d]) * gamma[d] : A(dy[d]);
    const A through = rstd * (g - mean_g - (A(x[d]) - mean) * rstd * mean_gx);
    store(residual ? through + A(residual[d]) : through, dx[d]);
  }
}

void layer_norm_backward(const Tensor& dy, const Tensor& x, const Tensor& gamma, const Tensor& mean, const Tensor& rstd,
                         const Tensor& residual, Tensor& dx, Tensor& dgamma, Tensor& dbeta) {
  const int64_t N = x.dim(0), D = x.dim(1);
  const detail::Widened<const Tensor&> scales(gamma), means(mean), rstds(rstd);
  visit_stored(x.dtype(), "layer_norm_backward", [&, N = N, D = D]<class T>(T) {
    using A = Arithmetic<T>;
    const T *g = dy.data<T>(), *in = x.data<T>(), *add = or_null<T>(residual);
    const A *scale = or_null<A>(scales.get()), *mu = means.get().data<A>(), *r = rstds.get().data<A>();
    T* out = dx.data<T>();
    const int64_t width = dgamma.defined() || dbeta.defined() ? 2 * D : 0;
    Tensor sums = Tensor::empty({width}, dtype_of<A>);
    sum_over_rows(N, width, sums.data<A>(), [=, D = D](int64_t begin, int64_t end, A* partial) {
      for (int64_t n = begin; n < end; ++n)
        backward_row<T>(g + n * D, in + n * D, scale, mu[n], r[n], add ? add + n * D : nullptr, D, out + n * D,
                        width ? partial : nullptr);
    });
    if (dgamma.defined()) dgamma.copy_from(sums.rows(0, D));
    if (dbeta.defined()) dbeta.copy_from(sums.rows(D, 2 * D));
  });
}

[[maybe_unused]] const bool registered = kernel::layer_norm_forward.define(Device::cpu, layer_norm_forward, true) &&
                                         kernel::layer_norm_backward.define(Device::cpu, layer_norm_backward, true);

}  // namespace
}  // namespace sked::cpu
