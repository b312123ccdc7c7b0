// Batch norm with its residual and ReLU. Statistics: sums of x − p and (x − p)² down the columns, p being the column's
// first element, so that a common offset does not cancel; joined in f64.

#include <cmath>

#include "core/kernels/norm.h"
#include "core/kernels/sizes.h"
#include "cuda/columns.cuh"
#include "cuda/walk.cuh"

namespace sked::cuda {
namespace {

template <class T>
struct MomentTerms {
  const T* x;
  int64_t C;
  __device__ Sums<2> operator()(int64_t, int64_t m, int64_t c) const {
    const float d = widen(x[m * C + c]) - widen(x[c]);
    return {{d, d * d}};
  }
};

struct Statistics {
  float *mean, *rstd, *running_mean, *running_var;
};

/// One warp a channel.
template <class T>
__global__ void statistics_kernel(ColumnPlan plan, const double* partial, const T* x, double eps, float momentum,
                                  Statistics to) {
  const int64_t c = global_thread() / kWarp;
  if (c >= plan.C) return;
  const double M = static_cast<double>(plan.rows);
  const double d = total_of(plan, partial, 2, 0, 0, c) / M, square = total_of(plan, partial, 2, 1, 0, c) / M;
  if (threadIdx.x % kWarp != 0) return;
  const double mean = static_cast<double>(widen(x[c])) + d, var = max(square - d * d, 0.0);
  to.mean[c] = static_cast<float>(mean);
  to.rstd[c] = static_cast<float>(1.0 / sqrt(var + eps));
  // In this form a momentum of 1 forgets what was there, to the last bit.
  to.running_mean[c] = (1 - momentum) * to.running_mean[c] + momentum * static_cast<float>(mean);
  to.running_var[c] = (1 - momentum) * to.running_var[c] + momentum * static_cast<float>(var * (M / (M - 1.0)));
}

/// Per channel: y = (x − mean) · scale · γ + β [+ residual], then ReLU; scale is rstd, or from a variance.
struct Affine {
  const float *mean, *rstd, *var, *gamma, *beta;
  float eps;
  bool relu;
};

template <int kN, class Index, class T>
__global__ void normalise_kernel(Index n, Index C, Affine a, const T* x, const T* residual, T* y) {
  const Index i = static_cast<Index>(global_thread()) * kN;
  if (i >= n) return;
  const Index c = i % C;  // kN divides C
  const Pack<T, kN> in = load<kN>(x + i);
  Pack<T, kN> add, out;
  if (residual) add = load<kN>(residual + i);
#pragma unroll
  for (int k = 0; k < kN; ++k) {
    const float scale = a.rstd ? a.rstd[c + k] : 1.0f / sqrtf(a.var[c + k] + a.eps);
    float z = (widen(in.v[k]) - a.mean[c + k]) * (scale * a.gamma[c + k]) + a.beta[c + k];
    if (residual) z += widen(add.v[k]);
    out.v[k] = static_cast<T>(a.relu && z < 0.0f ? 0.0f : z);
  }
  store(y + i, out);
}

/// 2 or, with a residual, 3 · M·C elements moved; statistics come from cache.
template <class T>
void normalise(const char* where, const Tensor& x, const Tensor& residual, int64_t C, const Affine& a, Tensor& y) {
  const T *in = x.data<T>(), *add = residual.defined() ? residual.data<T>() : nullptr;
  T* out = y.data<T>();
  const int64_t n = x.numel();
  constexpr int N = kWide<T>;
  visit_index(n, [&]<class Index>(Index) {
    const auto count = static_cast<Index>(n), channels = static_cast<Index>(C);
    if (C % N == 0 && aligned16({in, add, out})) {
      launch(where, normalise_kernel<N, Index, T>, ceil_div(n, N * kThreads), kThreads, count, channels, a, in, add,
             out);
    } else {
      launch(where, normalise_kernel<1, Index, T>, ceil_div(n, kThreads), kThreads, count, channels, a, in, add, out);
    }
  });
}

/// x is read twice: 3 or, with a residual, 4 · M·C elements moved, the floor where x does not stay in cache.
void batch_norm_forward(const Tensor& x, const Tensor& residual, const Tensor& gamma, const Tensor& beta, Tensor& y,
                        Tensor& mean, Tensor& rstd, Tensor& running_mean, Tensor& running_var, double momentum,
                        double eps, bool relu) {
  const char* where = "batch_norm_forward";
  const auto [M, C] =
      BatchNormSizes(x, {&residual, &y}, {&gamma, &beta, &mean, &rstd, &running_mean, &running_var}, where);
  require(M >= 2, where, "expected at least 2 rows to normalise over, got x ", x);
  visit_device(x.dtype(), where, [&, M = M, C = C]<class T>(T) {
    const ColumnPlan plan(1, M, C);
    Tensor partial = plan.partials(2);
    column_sums<2>(where, plan, MomentTerms<T>{x.data<T>(), C}, partial);
    const Statistics to{mean.data<float>(), rstd.data<float>(), running_mean.data<float>(), running_var.data<float>()};
    launch(where, statistics_kernel<T>, ceil_div(C, kLines), kThreads, plan, partial.data<double>(), x.data<T>(), eps,
           static_cast<float>(momentum), to);
    const Affine a{to.mean, to.rstd, nullptr, gamma.data<float>(), beta.data<float>(), 0.0f, relu};
    normalise<T>(where, x, residual, C, a, y);
  });
}

void batch_norm_inference(const Tensor& x, const Tensor& residual, const Tensor& gamma, const Tensor& beta,
                          const Tensor& running_mean, const Tensor& running_var, Tensor& y, double eps, bool relu) {
  const char* where = "batch_norm_inference";
  const auto [M, C] = BatchNormSizes(x, {&residual, &y}, {&gamma, &beta, &running_mean, &running_var}, where);
  visit_device(x.dtype(), where, [&, C = C]<class T>(T) {
    const Affine a{
        running_mean.data<float>(), nullptr, running_var.data<float>(), gamma.data<float>(), beta.data<float>(),
        static_cast<float>(eps),    relu};
    normalise<T>(where, x, residual, C, a, y);
  });
}

// ---- backward -------------------------------------------------------------------------------------------------------

/// g = dy [y > 0] (y null without a ReLU), kept where `kept` is not null; the terms of Σ g and Σ g (x − mean).
template <class T>
struct GradientTerms {
  const T *dy, *x, *y;
  const float* mean;
  T* kept;
  int64_t C;
  __device__ Sums<2> operator()(int64_t, int64_t m, int64_t c) const {
    const int64_t i = m * C + c;
    const float g = !y || widen(y[i]) > 0.0f ? widen(dy[i]) : 0.0f;
    if (kept) kept[i] = static_cast<T>(g);
    return {{g, g * (widen(x[i]) - mean[c])}};
  }
};

/// dx = factor (g − offset − slope (x − mean)) per channel.
struct Factors {
  float *factor, *offset, *slope;
};

__global__ void factors_kernel(ColumnPlan plan, const double* partial, const float* gamma, const float* rstd,
                               float* dgamma, float* dbeta, Factors to) {
  const int64_t c = global_thread() / kWarp;
  if (c >= plan.C) return;
  const double sum = total_of(plan, partial, 2, 0, 0, c), moment = total_of(plan, partial, 2, 1, 0, c);
  if (threadIdx.x % kWarp != 0) return;
  const float r = rstd[c], dg = static_cast<float>(moment) * r, db = static_cast<float>(sum);
  const float M = static_cast<float>(plan.rows);
  dgamma[c] = dg;
  dbeta[c] = db;
  to.factor[c] = gamma[c] * r;
  to.offset[c] = db / M;
  to.slope[c] = dg * r / M;
}

template <int kN, class Index, class T>
__global__ void batch_norm_backward_kernel(Index n, Index C, Factors f, const float* mean, const T* dy, const T* x,
                                           const T* y, T* dx) {
  const Index i = static_cast<Index>(global_thread()) * kN;
  if (i >= n) return;
  const Index c = i % C;
  const Pack<T, kN> up = load<kN>(dy + i), in = load<kN>(x + i);
  Pack<T, kN> sign, out;
  if (y) sign = load<kN>(y + i);
#pragma unroll
  for (int k = 0; k < kN; ++k) {
    const float g = !y || widen(sign.v[k]) > 0.0f ? widen(up.v[k]) : 0.0f;
    out.v[k] =
        static_cast<T>(f.factor[c + k] * (g - f.offset[c + k] - f.slope[c + k] * (widen(in.v[k]) - mean[c + k])));
  }
  store(dx + i, out);
}

/// dy, x (and y) are read twice: 5, with a ReLU 7, with its residual 8 · M·C elements moved.
void batch_norm_backward(const Tensor& dy, const Tensor& x, const Tensor& y, const Tensor& gamma, const Tensor& mean,
                         const Tensor& rstd, Tensor& dx, Tensor& dresidual, Tensor& dgamma, Tensor& dbeta, bool relu) {
  const char* where = "batch_norm_backward";
  const auto [M, C] = BatchNormSizes(x, {&dy, &y, &dx, &dresidual}, {&gamma, &mean, &rstd, &dgamma, &dbeta}, where);
  require(M >= 2 && (!relu || y.defined()), where, "expected at least 2 rows, and y under ReLU, got x ", x);
  visit_device(x.dtype(), where, [&, M = M, C = C]<class T>(T) {
    const T *up = dy.data<T>(), *in = x.data<T>(), *out = relu ? y.data<T>() : nullptr;
    T *kept = dresidual.defined() ? dresidual.data<T>() : nullptr, *to = dx.data<T>();
    const float* mu = mean.data<float>();
    const ColumnPlan plan(1, M, C);
    Tensor partial = plan.partials(2), factors = Tensor::empty({3, C}, DType::f32, Device::cuda);
    column_sums<2>(where, plan, GradientTerms<T>{up, in, out, mu, kept, C}, partial);
    if (kept) up = kept, out = nullptr;
    float* f = factors.data<float>();
    const Factors per_channel{f, f + C, f + 2 * C};
    launch(where, factors_kernel, ceil_div(C, kLines), kThreads, plan, partial.data<double>(), gamma.data<float>(),
           rstd.data<float>(), dgamma.data<float>(), dbeta.data<float>(), per_channel);
    const int64_t n = x.numel();
    constexpr int N = kWide<T>;
    visit_index(n, [&]<class Index>(Index) {
      const auto count = static_cast<Index>(n), channels = static_cast<Index>(C);
      if (C % N == 0 && aligned16({up, in, out, to})) {
        launch(where, batch_norm_backward_kernel<N, Index, T>, ceil_div(n, N * kThreads), kThreads, count, channels,
               per_channel, mu, up, in, out, to);
      } else {
        launch(where, batch_norm_backward_kernel<1, Index, T>, ceil_div(n, kThreads), kThreads, count, channels,
               per_channel, mu, up, in, out, to);
      }
    });
  });
}

[[maybe_unused]] const bool registered = kernel::batch_norm_forward.define(Device::cuda, batch_norm_forward) &&
                                         kernel::batch_norm_inference.define(Device::cuda, batch_norm_inference) &&
                                         kernel::batch_norm_backward.define(Device::cuda, batch_norm_backward);

}  // namespace
}  // namespace sked::cuda
