// Group norm: sums down the columns of each image, joined group by group in f64.

#include <cmath>

#include "core/kernels/group_norm.h"
#include "cuda/columns.cuh"

namespace sked::cuda {
namespace {

/// What kernels need of the sizes: channel c of an image lies in group c / width.
struct Extents {
  int64_t N, P, C, groups, width;
};

/// x − p and its square, p being the group's first element of the image.
template <class T>
struct MomentTerms {
  const T* x;
  Extents s;
  __device__ Sums<2> operator()(int64_t n, int64_t p, int64_t c) const {
    const int64_t image = n * s.P * s.C;
    const float d = widen(x[image + p * s.C + c]) - widen(x[image + c / s.width * s.width]);
    return {{d, d * d}};
  }
};

/// A warp's sum over the group's channels and the image's chunks: terms k of `partial` times weight[c] (null: 1).
__device__ double group_total(const ColumnPlan& plan, const double* partial, int k, int64_t n, int64_t first,
                              int64_t width, const float* weight) {
  double sum = 0;
  const int64_t terms = width * plan.chunks;
  for (int64_t i = threadIdx.x % kWarp; i < terms; i += kWarp) {
    const int64_t chunk = i / width, c = first + i - chunk * width;
    const double value = partial[((n * plan.chunks + chunk) * 2 + k) * plan.C + c];
    sum += weight ? value * static_cast<double>(weight[c]) : value;
  }
  return warp_reduce(sum, Plus{});
}

/// mean, rstd (N, groups): one warp a group.
template <class T>
__global__ void group_statistics_kernel(ColumnPlan plan, Extents s, const double* partial, const T* x, double eps,
                                        float* mean, float* rstd) {
  const int64_t index = global_thread() / kWarp;
  if (index >= s.N * s.groups) return;
  const int64_t n = index / s.groups, first = (index - n * s.groups) * s.width;
  const double count = static_cast<double>(s.P * s.width);
  const double d = group_total(plan, partial, 0, n, first, s.width, nullptr) / count;
  const double square = group_total(plan, partial, 1, n, first, s.width, nullptr) / count;
  if (threadIdx.x % kWarp != 0) return;
  mean[index] = static_cast<float>(static_cast<double>(widen(x[n * s.P * s.C + first])) + d);
  rstd[index] = static_cast<float>(1.0 / sqrt(max(square - d * d, 0.0) + eps));
}

template <class T>
__global__ void group_normalize_kernel(Extents s, const T* x, const float* gamma, const float* beta, const float* mean,
                                       const float* rstd, T* y) {
  const int64_t i = global_thread();
  if (i >= s.N * s.P * s.C) return;
  const int64_t row = i / s.C, c = i - row * s.C, group = row / s.P * s.groups + c / s.width;
  y[i] = narrow<T>(gamma[c] * ((widen(x[i]) - mean[group]) * rstd[group]) + beta[c]);
}

/// x is read twice, y written: 3 · N·P·C elements moved.
void group_norm_forward(const Tensor& x, const Tensor& gamma, const Tensor& beta, Tensor& y, Tensor& mean, Tensor& rstd,
                        int64_t groups, double eps) {
  const char* where = "group_norm_forward";
  const GroupNormSizes sizes = group_norm_sizes(x, groups);
  const Extents s{sizes.N, sizes.P, sizes.C, sizes.groups, sizes.width};
  visit_device(x.dtype(), where, [&]<class T>(T) {
    const ColumnPlan plan(s.N, s.P, s.C);
    Tensor partial = plan.partials(2);
    column_sums<2>(where, plan, MomentTerms<T>{x.data<T>(), s}, partial);
    launch(where, group_statistics_kernel<T>, ceil_div(s.N * s.groups, kLines), kThreads, plan, s,
           partial.data<double>(), x.data<T>(), eps, mean.data<float>(), rstd.data<float>());
    launch(where, group_normalize_kernel<T>, ceil_div(x.numel(), kThreads), kThreads, s, x.data<T>(),
           gamma.data<float>(), beta.data<float>(), mean.data<float>(), rstd.data<float>(), y.data<T>());
  });
}

/// The terms of Σ_p dy x̂ and Σ_p dy of an image's channel.
template <class T>
struct GradientTerms {
  const T *dy, *x;
  const float *mean, *rstd;
  Extents s;
  __device__ Sums<2> operator()(int64_t n, int64_t p, int64_t c) const {
    const int64_t i = (n * s.P + p) * s.C + c, group = n * s.groups + c / s.width;
    const float g = widen(dy[i]);
    return {{g * ((widen(x[i]) - mean[group]) * rstd[group]), g}};
  }
};

/// means (2, N, groups): of g x̂ and g, with g = γ dy, over each group.
__global__ void group_means_kernel(ColumnPlan plan, Extents s, const double* partial, const float* gamma,
                                   float* means) {
  const int64_t index = global_thread() / kWarp;
  if (index >= s.N * s.groups) return;
  const int64_t n = index / s.groups, first = (index - n * s.groups) * s.width;
  const double count = static_cast<double>(s.P * s.width);
  for (int k = 0; k < 2; ++k) {
    const double total = group_total(plan, partial, k, n, first, s.width, gamma);
    if (threadIdx.x % kWarp == 0) means[k * s.N * s.groups + index] = static_cast<float>(total / count);
  }
}

/// dγ, dβ (C): one warp a channel adds over images and chunks.
__global__ void group_affine_kernel(ColumnPlan plan, const double* partial, float* dgamma, float* dbeta) {
  const int64_t c = global_thread() / kWarp;
  if (c >= plan.C) return;
  for (int k = 0; k < 2; ++k) {
    double sum = 0;
    for (int64_t i = threadIdx.x % kWarp; i < plan.outer * plan.chunks; i += kWarp)
      sum += partial[(i * 2 + k) * plan.C + c];
    sum = warp_reduce(sum, Plus{});
    if (threadIdx.x % kWarp == 0) (k == 0 ? dgamma : dbeta)[c] = static_cast<float>(sum);
  }
}

/// dx = rstd (γ dy − mean g − x̂ mean(g x̂)).
template <class T>
__global__ void group_norm_backward_kernel(Extents s, const T* dy, const T* x, const float* gamma, const float* mean,
                                           const float* rstd, const float* means, T* dx) {
  const int64_t i = global_thread();
  if (i >= s.N * s.P * s.C) return;
  const int64_t row = i / s.C, c = i - row * s.C, group = row / s.P * s.groups + c / s.width;
  const float r = rstd[group], xhat = (widen(x[i]) - mean[group]) * r;
  dx[i] = narrow<T>(r * (widen(dy[i]) * gamma[c] - means[s.N * s.groups + group] - xhat * means[group]));
}

/// dy and x are read twice, dx written: 5 · N·P·C elements moved.
void group_norm_backward(const Tensor& dy, const Tensor& x, const Tensor& gamma, const Tensor& mean, const Tensor& rstd,
                         Tensor& dx, Tensor& dgamma, Tensor& dbeta, int64_t groups) {
  const char* where = "group_norm_backward";
  const GroupNormSizes sizes = group_norm_sizes(x, groups);
  const Extents s{sizes.N, sizes.P, sizes.C, sizes.groups, sizes.width};
  visit_device(x.dtype(), where, [&]<class T>(T) {
    const T *up = dy.data<T>(), *in = x.data<T>();
    const float *mu = mean.data<float>(), *r = rstd.data<float>(), *scale = gamma.data<float>();
    const ColumnPlan plan(s.N, s.P, s.C);
    Tensor partial = plan.partials(2), means = Tensor::empty({2, s.N, groups}, DType::f32, Device::cuda);
    column_sums<2>(where, plan, GradientTerms<T>{up, in, mu, r, s}, partial);
    const double* sums = partial.data<double>();
    launch(where, group_means_kernel, ceil_div(s.N * s.groups, kLines), kThreads, plan, s, sums, scale,
           means.data<float>());
    launch(where, group_affine_kernel, ceil_div(s.C, kLines), kThreads, plan, sums, dgamma.data<float>(),
           dbeta.data<float>());
    launch(where, group_norm_backward_kernel<T>, ceil_div(x.numel(), kThreads), kThreads, s, up, in, scale, mu, r,
           means.data<float>(), dx.data<T>());
  });
}

[[maybe_unused]] const bool registered = kernel::group_norm_forward.define(Device::cuda, group_norm_forward) &&
                                         kernel::group_norm_backward.define(Device::cuda, group_norm_backward);

}  // namespace
}  // namespace sked::cuda
