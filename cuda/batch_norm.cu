// Batch norm with its residual and ReLU. Statistics: sums of x − p and (x − p)² down the columns, p being the column's
// first element, so that a common offset does not cancel; joined in f64.

#include <cmath>
#include <numeric>

#include "core/kernels/batch_norm.h"
#include "cuda/columns.cuh"
#include "cuda/strided.cuh"

namespace sked::cuda {
namespace {

struct Moments {
  double mean, var;  // biased
};

/// A warp's, of channel c.
template <class T>
__device__ Moments moments_of(const ColumnPlan& plan, const double* partial, const T* x, int64_t c) {
  const double M = static_cast<double>(plan.rows);
  const double d = total_of(plan, partial, 2, 0, 0, c) / M, square = total_of(plan, partial, 2, 1, 0, c) / M;
  return {static_cast<double>(widen(x[c])) + d, max(square - d * d, 0.0)};
}

struct Statistics {
  float *mean, *var, *rstd, *running_mean, *running_var;  // var null: not wanted
  double eps;
  float momentum;

  __device__ void set(int64_t c, Moments m, double M) const {
    mean[c] = static_cast<float>(m.mean);
    if (var) var[c] = static_cast<float>(m.var);
    rstd[c] = static_cast<float>(1.0 / sqrt(m.var + eps));
    // In this form a momentum of 1 forgets what was there, to the last bit.
    running_mean[c] = (1 - momentum) * running_mean[c] + momentum * static_cast<float>(m.mean);
    running_var[c] = (1 - momentum) * running_var[c] + momentum * static_cast<float>(m.var * (M / (M - 1.0)));
  }
};

/// One warp a channel.
template <class T>
__global__ void statistics_kernel(ColumnPlan plan, const double* partial, const T* x, Statistics to) {
  const int64_t c = global_thread() / kWarp;
  if (c >= plan.C) return;
  const Moments m = moments_of(plan, partial, x, c);
  if (threadIdx.x % kWarp == 0) to.set(c, m, static_cast<double>(plan.rows));
}

/// One warp a channel: moments (3,C).
template <class T>
__global__ void moments_kernel(ColumnPlan plan, const double* partial, const T* x, float* moments) {
  const int64_t c = global_thread() / kWarp;
  if (c >= plan.C) return;
  const Moments m = moments_of(plan, partial, x, c);
  if (threadIdx.x % kWarp != 0) return;
  const double M = static_cast<double>(plan.rows);
  moments[c] = static_cast<float>(m.mean);
  moments[plan.C + c] = static_cast<float>(m.var * M);
  moments[2 * plan.C + c] = static_cast<float>(M);
}

/// One thread a channel: moments (N,3,C) joined in their order.
__global__ void join_kernel(int64_t N, int64_t C, const float* moments, Statistics to) {
  const int64_t c = global_thread();
  if (c >= C) return;
  double M = 0, mean = 0, squares = 0;
  for (const float* m = moments + c; m < moments + 3 * N * C; m += 3 * C) {
    M += m[2 * C];
    mean += static_cast<double>(m[2 * C]) * m[0];
  }
  mean /= M;
  for (const float* m = moments + c; m < moments + 3 * N * C; m += 3 * C) {
    const double d = m[0] - mean;
    squares += m[C] + m[2 * C] * d * d;
  }
  to.set(c, {mean, squares / M}, M);
}

// ---- element by element, with parameters of the channel ------------------------------------------

/// K tensors' elements; a null one counts as zeros.
template <class T, int K>
struct Streams {
  const T* v[K];
};

/// y[i] = F<kN>(given, channel)(k, x[i] …). A thread's packs lie `step` elements apart, a multiple of C, so that it
/// meets the same kN channels again and again and has their parameters in registers; two packs of each stream are under
/// way at a time.
template <template <int> class F, int kN, class Index, class T>
__global__ void __launch_bounds__(kThreads, F<kN>::kResident)
    by_channel_kernel(int64_t n, int64_t step, Index C, typename F<kN>::Given given, Streams<T, F<kN>::kStreams> x,
                      T* y) {
  constexpr int kBatch = 2, K = F<kN>::kStreams;
  const int64_t first = global_thread() * kN;
  if (first >= n) return;
  const F<kN> f(given, static_cast<Index>(first) % C);  // kN divides C
  for (int64_t i = first; i < n; i += kBatch * step) {
    Pack<T, kN> in[kBatch][K];
#pragma unroll
    for (int b = 0; b < kBatch; ++b)
#pragma unroll
      for (int s = 0; s < K; ++s) in[b][s] = load_if<kN>(x.v[s] && i + b * step < n, x.v[s], i + b * step);
#pragma unroll
    for (int b = 0; b < kBatch; ++b) {
      if (i + b * step >= n) return;
      Pack<T, kN> out;
#pragma unroll
      for (int k = 0; k < kN; ++k) {
        float values[K];
#pragma unroll
        for (int s = 0; s < K; ++s) values[s] = widen(in[b][s].v[k]);
        out.v[k] = narrow<T>(f(k, values));
      }
      store(y + i + b * step, out);
    }
  }
}

/// Moves every element of the streams and of y once. `parameters`: what `given` points to.
template <template <int> class F, class T, int K>
void by_channel(const char* where, int64_t n, int64_t C, const typename F<1>::Given& given,
                std::initializer_list<const void*> parameters, const Streams<T, K>& x, T* y) {
  bool packs = C % kWide<T> == 0 && aligned16(parameters) && aligned16({y});
  for (const T* stream : x.v) packs = packs && aligned16({stream});
  const auto run = [&]<int kN>(std::integral_constant<int, kN>) {
    // Blocks by whole rows: a multiple of `period` of them makes `step` one of C. No more than are resident at once,
    // where that many are a period.
    const int64_t period = C / kN / std::gcd(C / kN, int64_t{kThreads});
    const int64_t periods = std::max<int64_t>(1, multiprocessors() * F<kN>::kResident / period);
    const int64_t blocks = std::min(ceil_div(n, kN * kThreads), periods * period);
    visit_index(n, [&]<class Index>(Index) {
      launch(where, by_channel_kernel<F, kN, Index, T>, blocks, kThreads, n, blocks * kThreads * kN,
             static_cast<Index>(C), given, x, y);
    });
  };
  if (packs) return run(std::integral_constant<int, kWide<T>>{});
  run(std::integral_constant<int, 1>{});
}

/// Per channel: y = (x − mean) · scale · γ + β [+ residual], then ReLU; scale is rstd, or from a variance.
struct Affine {
  const float *mean, *rstd, *var, *gamma, *beta;
  float eps;
  bool relu;
};
template <int kN>
struct Normalize {
  using Given = Affine;
  static constexpr int kStreams = 2, kResident = 4;  // x, residual; blocks a multiprocessor
  Floats<kN> mean, scale, shift;
  bool relu;

  template <class Index>
  __device__ Normalize(const Affine& a, Index c)
      : mean(load_floats<kN>(a.mean + c)),
        scale(load_floats<kN>(a.gamma + c)),
        shift(load_floats<kN>(a.beta + c)),
        relu(a.relu) {
    const Floats<kN> spread = load_floats<kN>((a.rstd ? a.rstd : a.var) + c);
#pragma unroll
    for (int k = 0; k < kN; ++k) scale.v[k] *= a.rstd ? spread.v[k] : 1.0f / sqrtf(spread.v[k] + a.eps);
  }
  __device__ float operator()(int k, const float (&in)[2]) const {
    const float z = (in[0] - mean.v[k]) * scale.v[k] + shift.v[k] + in[1];
    return relu && z < 0.0f ? 0.0f : z;
  }
};

/// 2 or, with a residual, 3 · M·C elements moved. Machine code for sm_90, bf16, an element: 12 instructions and 0.25
/// loads, of which an H100 issues 39 instructions while it moves 4 bytes (4.25 loads where each element reads four
/// parameters, and those took longer than the memory).
template <class T>
void normalize(const char* where, const Tensor& x, const Tensor& residual, int64_t C, const Affine& a, Tensor& y) {
  const Streams<T, 2> in{{x.data<T>(), residual.defined() ? residual.data<T>() : nullptr}};
  by_channel<Normalize>(where, x.numel(), C, a, {a.mean, a.rstd, a.var, a.gamma, a.beta}, in, y.data<T>());
}

Statistics statistics(Tensor& mean, float* var, Tensor& rstd, Tensor& running_mean, Tensor& running_var,
                      double momentum, double eps) {
  return {mean.data<float>(),        var, rstd.data<float>(),          running_mean.data<float>(),
          running_var.data<float>(), eps, static_cast<float>(momentum)};
}

/// x is read twice: 3 or, with a residual, 4 · M·C elements moved, the floor where x does not stay in cache. The sums,
/// machine code for sm_90, bf16, an element: 8 instructions; an H100 issues 20 while it moves 2 bytes.
void batch_norm_forward(const Tensor& x, const Tensor& residual, const Tensor& gamma, const Tensor& beta, Tensor& y,
                        Tensor& mean, Tensor& rstd, Tensor& running_mean, Tensor& running_var, double momentum,
                        double eps, bool relu) {
  const char* where = "batch_norm_forward";
  const auto [M, C] = batch_norm_sizes(x);
  visit_device(x.dtype(), where, [&, M = M, C = C]<class T>(T) {
    const ColumnPlan plan(1, M, C, pack_of<T>(C, {x.data<T>()}));
    Tensor partial = plan.partials(2);
    column_sums<MomentTerms, T>(where, plan, {x.data<T>()}, partial);
    const Statistics to = statistics(mean, nullptr, rstd, running_mean, running_var, momentum, eps);
    launch(where, statistics_kernel<T>, ceil_div(C, kLines), kThreads, plan, partial.data<double>(), x.data<T>(), to);
    const Affine a{to.mean, to.rstd, nullptr, gamma.data<float>(), beta.data<float>(), 0.0f, relu};
    normalize<T>(where, x, residual, C, a, y);
  });
}

/// x is read once.
void batch_norm_moments(const Tensor& x, Tensor& moments) {
  const char* where = "batch_norm_moments";
  const auto [M, C] = batch_norm_sizes(x);
  visit_device(x.dtype(), where, [&, M = M, C = C]<class T>(T) {
    const ColumnPlan plan(1, M, C, pack_of<T>(C, {x.data<T>()}));
    Tensor partial = plan.partials(2);
    column_sums<MomentTerms, T>(where, plan, {x.data<T>()}, partial);
    launch(where, moments_kernel<T>, ceil_div(C, kLines), kThreads, plan, partial.data<double>(), x.data<T>(),
           moments.data<float>());
  });
}

void batch_norm_join(const Tensor& moments, Tensor& mean, Tensor& var, Tensor& rstd, Tensor& running_mean,
                     Tensor& running_var, double momentum, double eps) {
  const int64_t N = moments.dim(0), C = moments.dim(2);
  launch("batch_norm_join", join_kernel, ceil_div(C, kThreads), kThreads, N, C, moments.data<float>(),
         statistics(mean, var.data<float>(), rstd, running_mean, running_var, momentum, eps));
}

void batch_norm_inference(const Tensor& x, const Tensor& residual, const Tensor& gamma, const Tensor& beta,
                          const Tensor& running_mean, const Tensor& running_var, Tensor& y, double eps, bool relu) {
  const char* where = "batch_norm_inference";
  const auto [M, C] = batch_norm_sizes(x);
  visit_device(x.dtype(), where, [&, C = C]<class T>(T) {
    const Affine a{
        running_mean.data<float>(), nullptr, running_var.data<float>(), gamma.data<float>(), beta.data<float>(),
        static_cast<float>(eps),    relu};
    normalize<T>(where, x, residual, C, a, y);
  });
}

// ---- backward ------------------------------------------------------------------------------------

/// g = dy [y > 0] (y null without a ReLU), kept where `kept` is not null; the terms of Σ g and Σ g (x − mean).
template <class T>
struct GradientsOf {
  const T *dy, *x, *y;
  const float* mean;
  T* kept;
};
template <class T, int N>
struct GradientTerms {
  using Given = GradientsOf<T>;
  struct Row {
    Pack<T, N> dy, x, y;
  };
  static constexpr int kN = N, kSums = 2, kRows = 1;
  Given of;
  Floats<N> mean;
  __device__ GradientTerms(const Given& given, int64_t, int64_t, int c)
      : of(given), mean(load_floats<N>(given.mean + c)) {}
  __device__ Row load(bool wanted, int64_t at) const {
    return {load_if<N>(wanted, of.dy, at), load_if<N>(wanted, of.x, at), load_if<N>(wanted && of.y, of.y, at)};
  }
  __device__ void add(const Row& row, int64_t at, float (&sum)[2][N]) const {
    Pack<T, N> kept;
#pragma unroll
    for (int j = 0; j < N; ++j) {
      const float g = !of.y || widen(row.y.v[j]) > 0.0f ? widen(row.dy.v[j]) : 0.0f;
      sum[0][j] += g;
      sum[1][j] += g * (widen(row.x.v[j]) - mean.v[j]);
      kept.v[j] = narrow<T>(g);
    }
    if (of.kept) store(of.kept + at, kept);
  }
};

/// dx = factor (g − offset − slope (x − mean)) per channel.
struct Factors {
  float *factor, *offset, *slope;

  __device__ void set(int64_t c, float gamma, float rstd, float sum, float moment, float M) const {
    factor[c] = gamma * rstd;
    offset[c] = sum / M;
    slope[c] = moment * rstd / M;
  }
};

/// One warp a channel: sums (3,C).
__global__ void sums_kernel(ColumnPlan plan, const double* partial, const float* rstd, float* sums) {
  const int64_t c = global_thread() / kWarp;
  if (c >= plan.C) return;
  const double sum = total_of(plan, partial, 2, 0, 0, c), moment = total_of(plan, partial, 2, 1, 0, c);
  if (threadIdx.x % kWarp != 0) return;
  sums[c] = static_cast<float>(sum);
  sums[plan.C + c] = static_cast<float>(moment) * rstd[c];
  sums[2 * plan.C + c] = static_cast<float>(plan.rows);
}

/// One thread a channel.
__global__ void given_sums_kernel(int64_t C, const float* sums, const float* gamma, const float* rstd, Factors to) {
  const int64_t c = global_thread();
  if (c < C) to.set(c, gamma[c], rstd[c], sums[c], sums[C + c], sums[2 * C + c]);
}

__global__ void factors_kernel(ColumnPlan plan, const double* partial, const float* gamma, const float* rstd,
                               float* dgamma, float* dbeta, Factors to) {
  const int64_t c = global_thread() / kWarp;
  if (c >= plan.C) return;
  const double sum = total_of(plan, partial, 2, 0, 0, c), moment = total_of(plan, partial, 2, 1, 0, c);
  if (threadIdx.x % kWarp != 0) return;
  const float r = rstd[c], dg = static_cast<float>(moment) * r, db = static_cast<float>(sum);
  dgamma[c] = dg;
  dbeta[c] = db;
  to.set(c, gamma[c], r, db, dg, static_cast<float>(plan.rows));
}

struct Backward {
  Factors by;
  const float* mean;
  bool relu;
};
template <int kN>
struct InputGradient {
  using Given = Backward;
  static constexpr int kStreams = 3, kResident = 3;  // dy, x, y; blocks a multiprocessor
  Floats<kN> factor, offset, slope, mean;
  bool relu;

  template <class Index>
  __device__ InputGradient(const Backward& b, Index c)
      : factor(load_floats<kN>(b.by.factor + c)),
        offset(load_floats<kN>(b.by.offset + c)),
        slope(load_floats<kN>(b.by.slope + c)),
        mean(load_floats<kN>(b.mean + c)),
        relu(b.relu) {}
  __device__ float operator()(int k, const float (&in)[3]) const {
    const float g = !relu || in[2] > 0.0f ? in[0] : 0.0f;
    return factor.v[k] * (g - offset.v[k] - slope.v[k] * (in[1] - mean.v[k]));
  }
};

Factors factors_in(Tensor& factors) {
  float* f = factors.data<float>();
  return {f, f + factors.dim(1), f + 2 * factors.dim(1)};
}

/// dy, x (and y) are read twice: 5, with a ReLU 7, with its residual 8 · M·C elements moved. The first pass, machine
/// code for sm_90, bf16, an element: 18 instructions and 0.375 loads, which a thread has under way at once; an H100
/// issues 39 while it moves 4 bytes, 79 while it moves 8. The second: 15 and 0.375 (4.4 with parameters read element by
/// element), 72 registers, nothing spilled, of 59 while it moves 6 bytes.
void batch_norm_backward(const Tensor& dy, const Tensor& x, const Tensor& y, const Tensor& gamma, const Tensor& mean,
                         const Tensor& rstd, Tensor& dx, Tensor& dresidual, Tensor& dgamma, Tensor& dbeta, bool relu) {
  const char* where = "batch_norm_backward";
  const auto [M, C] = batch_norm_sizes(x);
  visit_device(x.dtype(), where, [&, M = M, C = C]<class T>(T) {
    const T *up = dy.data<T>(), *in = x.data<T>(), *out = relu ? y.data<T>() : nullptr;
    T *kept = dresidual.defined() ? dresidual.data<T>() : nullptr, *to = dx.data<T>();
    const float* mu = mean.data<float>();
    const ColumnPlan plan(1, M, C, pack_of<T>(C, {up, in, out, mu, kept}));
    Tensor partial = plan.partials(2), factors = Tensor::empty({3, C}, DType::f32, Device::cuda);
    column_sums<GradientTerms, T>(where, plan, {up, in, out, mu, kept}, partial);
    if (kept) up = kept, out = nullptr;
    const Factors per_channel = factors_in(factors);
    launch(where, factors_kernel, ceil_div(C, kLines), kThreads, plan, partial.data<double>(), gamma.data<float>(),
           rstd.data<float>(), dgamma.data<float>(), dbeta.data<float>(), per_channel);
    by_channel<InputGradient>(where, x.numel(), C, Backward{per_channel, mu, out != nullptr}, {per_channel.factor, mu},
                              Streams<T, 3>{{up, in, out}}, to);
  });
}

/// dy, x (and y) are read once, and dresidual written.
void batch_norm_sums(const Tensor& dy, const Tensor& x, const Tensor& y, const Tensor& mean, const Tensor& rstd,
                     Tensor& dresidual, Tensor& sums, bool relu) {
  const char* where = "batch_norm_sums";
  const auto [M, C] = batch_norm_sizes(x);
  visit_device(x.dtype(), where, [&, M = M, C = C]<class T>(T) {
    const GradientsOf<T> of{dy.data<T>(), x.data<T>(), relu ? y.data<T>() : nullptr, mean.data<float>(),
                            dresidual.defined() ? dresidual.data<T>() : nullptr};
    const ColumnPlan plan(1, M, C, pack_of<T>(C, {of.dy, of.x, of.y, of.mean, of.kept}));
    Tensor partial = plan.partials(2);
    column_sums<GradientTerms, T>(where, plan, of, partial);
    launch(where, sums_kernel, ceil_div(C, kLines), kThreads, plan, partial.data<double>(), rstd.data<float>(),
           sums.data<float>());
  });
}

/// The second pass of batch_norm_backward.
void batch_norm_input_gradient(const Tensor& dy, const Tensor& x, const Tensor& y, const Tensor& gamma,
                               const Tensor& mean, const Tensor& rstd, const Tensor& sums, Tensor& dx, bool relu) {
  const char* where = "batch_norm_input_gradient";
  const int64_t C = x.dim(-1);
  visit_device(x.dtype(), where, [&]<class T>(T) {
    Tensor factors = Tensor::empty({3, C}, DType::f32, Device::cuda);
    const Factors per_channel = factors_in(factors);
    const float* mu = mean.data<float>();
    launch(where, given_sums_kernel, ceil_div(C, kThreads), kThreads, C, sums.data<float>(), gamma.data<float>(),
           rstd.data<float>(), per_channel);
    by_channel<InputGradient>(where, x.numel(), C, Backward{per_channel, mu, relu}, {per_channel.factor, mu},
                              Streams<T, 3>{{dy.data<T>(), x.data<T>(), relu ? y.data<T>() : nullptr}}, dx.data<T>());
  });
}

[[maybe_unused]] const bool registered =
    kernel::batch_norm_forward.define(Device::cuda, batch_norm_forward) &&
    kernel::batch_norm_moments.define(Device::cuda, batch_norm_moments) &&
    kernel::batch_norm_join.define(Device::cuda, batch_norm_join) &&
    kernel::batch_norm_inference.define(Device::cuda, batch_norm_inference) &&
    kernel::batch_norm_backward.define(Device::cuda, batch_norm_backward) &&
    kernel::batch_norm_sums.define(Device::cuda, batch_norm_sums) &&
    kernel::batch_norm_input_gradient.define(Device::cuda, batch_norm_input_gradient);

}  // namespace
}  // namespace sked::cuda
