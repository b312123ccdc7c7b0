// Group norm: sums down the columns of each image, joined group by group in f64.

#include <cmath>

#include "core/kernels/group_norm.h"
#include "cuda/columns.cuh"

namespace sked::cuda {
namespace {

/// What kernels need of the sizes: channel c of an image lies in group c / width.
struct Extents {
  int64_t N, P, C, groups;
  Divisor<int> width;

  explicit Extents(const GroupNormSizes& s) : N(s.N), P(s.P), C(s.C), groups(s.groups), width(s.width) {}
  __device__ int64_t group(int64_t n, int c) const { return n * groups + c / width; }
};

/// mean and rstd of the groups (N, groups) of N neighboring channels of an image.
template <int N>
struct GroupStatistics {
  Floats<N> mean, rstd;
  __device__ GroupStatistics(const Extents& s, const float* means, const float* rstds, int64_t n, int c) {
#pragma unroll
    for (int j = 0; j < N; ++j) mean.v[j] = means[s.group(n, c + j)], rstd.v[j] = rstds[s.group(n, c + j)];
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
  const int64_t n = index / s.groups, width = s.width.by(), first = (index - n * s.groups) * width;
  const double count = static_cast<double>(s.P * width);
  const double d = group_total(plan, partial, 0, n, first, width, nullptr) / count;
  const double square = group_total(plan, partial, 1, n, first, width, nullptr) / count;
  if (threadIdx.x % kWarp != 0) return;
  mean[index] = static_cast<float>(static_cast<double>(widen(x[n * s.P * s.C + first])) + d);
  rstd[index] = static_cast<float>(1.0 / sqrt(max(square - d * d, 0.0) + eps));
}

template <class T>
struct Normalization {
  const T* x;
  const float *gamma, *beta, *mean, *rstd;
  T* y;
  Extents s;
};
template <class T, int N>
struct Normalize {
  using Given = Normalization<T>;
  using Row = Pack<T, N>;
  static constexpr int kN = N, kRows = 2;
  const T* x;
  T* y;
  GroupStatistics<N> of;
  Floats<N> scale, shift;
  __device__ Normalize(const Given& g, int64_t n, int64_t, int c)
      : x(g.x),
        y(g.y),
        of(g.s, g.mean, g.rstd, n, c),
        scale(load_floats<N>(g.gamma + c)),
        shift(load_floats<N>(g.beta + c)) {
#pragma unroll
    for (int j = 0; j < N; ++j) scale.v[j] *= of.rstd.v[j];
  }
  __device__ Row load(bool wanted, int64_t at) const { return load_if<N>(wanted, x, at); }
  __device__ void write(const Row& row, int64_t at) const {
    Pack<T, N> out;
#pragma unroll
    for (int j = 0; j < N; ++j) out.v[j] = narrow<T>((widen(row.v[j]) - of.mean.v[j]) * scale.v[j] + shift.v[j]);
    store(y + at, out);
  }
};

/// x is read twice, y written: 3 · N·P·C elements moved. Machine code for sm_90, bf16, an element: 8 instructions for
/// the sums, 7 for y; an H100 issues 20 and 39 while it moves 2 and 4 bytes.
void group_norm_forward(const Tensor& x, const Tensor& gamma, const Tensor& beta, Tensor& y, Tensor& mean, Tensor& rstd,
                        int64_t groups, double eps) {
  const char* where = "group_norm_forward";
  const GroupNormSizes sizes = group_norm_sizes(x, groups);
  const Extents s(sizes);
  visit_device(x.dtype(), where, [&]<class T>(T) {
    const Normalization<T> given{
        x.data<T>(), gamma.data<float>(), beta.data<float>(), mean.data<float>(), rstd.data<float>(), y.data<T>(), s};
    const ColumnPlan plan(s.N, s.P, s.C, pack_of<T>(s.C, {given.x, given.gamma, given.beta, given.y}));
    Tensor partial = plan.partials(2);
    column_sums<MomentTerms, T>(where, plan, {given.x, s.width}, partial);
    launch(where, group_statistics_kernel<T>, ceil_div(s.N * s.groups, kLines), kThreads, plan, s,
           partial.data<double>(), x.data<T>(), eps, mean.data<float>(), rstd.data<float>());
    write_rows<Normalize, T>(where, plan, given);
  });
}

/// The terms of Σ_p dy x̂ and Σ_p dy of an image's channel.
template <class T>
struct Gradients {
  const T *dy, *x;
  const float *gamma, *mean, *rstd, *means;
  T* dx;
  Extents s;
};
/// Packs of dy and x.
template <class T, int N>
struct GradientRows {
  using Given = Gradients<T>;
  struct Row {
    Pack<T, N> dy, x;
  };
  static constexpr int kN = N, kRows = 1;
  const T *dy, *x;
  GroupStatistics<N> of;
  __device__ GradientRows(const Given& g, int64_t n, int c) : dy(g.dy), x(g.x), of(g.s, g.mean, g.rstd, n, c) {}
  __device__ Row load(bool wanted, int64_t at) const { return {load_if<N>(wanted, dy, at), load_if<N>(wanted, x, at)}; }
};
template <class T, int N>
struct GradientTerms : GradientRows<T, N> {
  static constexpr int kSums = 2;
  __device__ GradientTerms(const Gradients<T>& g, int64_t n, int64_t, int c) : GradientRows<T, N>(g, n, c) {}
  __device__ void add(const typename GradientRows<T, N>::Row& row, int64_t, float (&sum)[2][N]) const {
#pragma unroll
    for (int j = 0; j < N; ++j) {
      const float g = widen(row.dy.v[j]);
      sum[0][j] += g * ((widen(row.x.v[j]) - this->of.mean.v[j]) * this->of.rstd.v[j]);
      sum[1][j] += g;
    }
  }
};

/// means (2, N, groups): of g x̂ and g, with g = γ dy, over each group.
__global__ void group_means_kernel(ColumnPlan plan, Extents s, const double* partial, const float* gamma,
                                   float* means) {
  const int64_t index = global_thread() / kWarp;
  if (index >= s.N * s.groups) return;
  const int64_t n = index / s.groups, width = s.width.by(), first = (index - n * s.groups) * width;
  const double count = static_cast<double>(s.P * width);
  for (int k = 0; k < 2; ++k) {
    const double total = group_total(plan, partial, k, n, first, width, gamma);
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

/// dx = rstd (γ dy − mean g − x̂ mean(g x̂)) = factor dy − offset − slope (x − mean).
template <class T, int N>
struct InputGradient : GradientRows<T, N> {
  T* dx;
  Floats<N> factor, offset, slope;
  __device__ InputGradient(const Gradients<T>& g, int64_t n, int64_t, int c)
      : GradientRows<T, N>(g, n, c), dx(g.dx), factor(load_floats<N>(g.gamma + c)) {
#pragma unroll
    for (int j = 0; j < N; ++j) {
      const int64_t group = g.s.group(n, c + j);
      const float r = this->of.rstd.v[j];
      factor.v[j] *= r;
      offset.v[j] = r * g.means[g.s.N * g.s.groups + group];
      slope.v[j] = r * r * g.means[group];
    }
  }
  __device__ void write(const typename GradientRows<T, N>::Row& row, int64_t at) const {
    Pack<T, N> out;
#pragma unroll
    for (int j = 0; j < N; ++j) {
      const float d = widen(row.x.v[j]) - this->of.mean.v[j];
      out.v[j] = narrow<T>(factor.v[j] * widen(row.dy.v[j]) - offset.v[j] - slope.v[j] * d);
    }
    store(dx + at, out);
  }
};

/// dy and x are read twice, dx written: 5 · N·P·C elements moved. Machine code for sm_90, bf16, an element: 9
/// instructions for the sums, 9 for dx; an H100 issues 39 and 59 while it moves 4 and 6 bytes.
void group_norm_backward(const Tensor& dy, const Tensor& x, const Tensor& gamma, const Tensor& mean, const Tensor& rstd,
                         Tensor& dx, Tensor& dgamma, Tensor& dbeta, int64_t groups) {
  const char* where = "group_norm_backward";
  const GroupNormSizes sizes = group_norm_sizes(x, groups);
  const Extents s(sizes);
  visit_device(x.dtype(), where, [&]<class T>(T) {
    Tensor means = Tensor::empty({2, s.N, groups}, DType::f32, Device::cuda);
    const Gradients<T> given{dy.data<T>(),       x.data<T>(),         gamma.data<float>(), mean.data<float>(),
                             rstd.data<float>(), means.data<float>(), dx.data<T>(),        s};
    const ColumnPlan plan(s.N, s.P, s.C, pack_of<T>(s.C, {given.dy, given.x, given.gamma, given.dx}));
    Tensor partial = plan.partials(2);
    column_sums<GradientTerms, T>(where, plan, given, partial);
    const double* sums = partial.data<double>();
    launch(where, group_means_kernel, ceil_div(s.N * s.groups, kLines), kThreads, plan, s, sums, given.gamma,
           means.data<float>());
    launch(where, group_affine_kernel, ceil_div(s.C, kLines), kThreads, plan, sums, dgamma.data<float>(),
           dbeta.data<float>());
    write_rows<InputGradient, T>(where, plan, given);
  });
}

[[maybe_unused]] const bool registered = kernel::group_norm_forward.define(Device::cuda, group_norm_forward) &&
                                         kernel::group_norm_backward.define(Device::cuda, group_norm_backward);

}  // namespace
}  // namespace sked::cuda
