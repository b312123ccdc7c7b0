// The tiles of the streaming likelihood. A tile is a product's result in f32 or bf16, read and overwritten once. The
// kernels of labels are bound by memory, those of soft targets and of sigmoids by their two to four exponentials and
// logarithms an element. Sums over classes go to teams of threads, sums over samples to one thread a column; their
// order does not depend on the run.

#include "core/kernels/likelihood.h"

#include <cmath>

#include "cuda/softmax_rows.cuh"
#include "cuda/tiles.cuh"

namespace sked::cuda {
namespace {

const float* floats(const Tensor& t) { return t.defined() ? t.data<float>() : nullptr; }

/// NaN where either is: comparisons with it are false (fmaxf and fminf would drop it), so that it ends up in `high` or
/// in `low`, and both are in the result.
__device__ float log_add_exp(float a, float b) {
  const float high = a > b ? a : b, low = a > b ? b : a;
  return high == -INFINITY ? low : high + math::log1p(math::exp(low - high));
}

/// σ(±x) and their logarithms, as accurate far out, from one exponential of what is or becomes T. NaN goes through.
struct Sigmoids {
  float up, down, log_up, log_down;
};
template <class T>
__device__ Sigmoids sigmoids(float x) {
  const float e = exp_as<T>(x > 0 ? -x : x), log = math::log1p(e), high = 1 / (1 + e), low = e * high;
  const bool positive = x > 0;
  return {positive ? high : low, positive ? low : high, (positive ? 0 : x) - log, (positive ? -x : 0) - log};
}

// ---- noisy rows ----------------------------------------------------------------------------------

/// 3 (2 without q) tiles moved.
__global__ void noise_forward_kernel(Extents e, int64_t first, const float* center, const float* d, const float* eps,
                                     const float* v, const float* q, float* z) {
  const int64_t i = global_thread();
  if (i >= e.rows() * e.K) return;
  const int64_t row = i / e.K, at = row / e.C * e.classes + first + (i - row * e.K);
  const float noise = q ? (v ? v[at] * q[i] : q[i]) : 0.0f;
  z[i] = center[at] + d[at] * eps[i] + noise;
}

void noise_forward(const Tensor& center, const Tensor& d, const Tensor& eps, const Tensor& v, const Tensor& q,
                   Tensor& z, int64_t first) {
  const char* where = "noise_forward";
  Extents e(z, where);
  e.classes = center.dim(1);
  launch(where, noise_forward_kernel, ceil_div(z.numel(), kThreads), kThreads, e, first, center.data<float>(),
         d.data<float>(), eps.data<float>(), floats(v), floats(q), z.data<float>());
}

/// One thread a column: 4 (2 without q) tiles moved.
__global__ void noise_backward_kernel(Extents e, int64_t first, const float* dz, const float* eps, const float* v,
                                      float* q, float* dcenter, float* dd, float* dv) {
  const int64_t column = global_thread();
  if (column >= e.columns()) return;
  const int64_t b = column / e.K, j = column - b * e.K, at = b * e.classes + first + j;
  double sum = 0, sum_eps = 0, sum_q = 0;
  for (int64_t s = 0; s < e.C; ++s) {
    const int64_t i = (b * e.C + s) * e.K + j;
    const float g = dz[i];
    sum += g;
    sum_eps += g * eps[i];
    if (!v) continue;
    sum_q += g * q[i];
    q[i] = g * v[at];
  }
  dcenter[at] += static_cast<float>(sum);
  dd[at] += static_cast<float>(sum_eps);
  if (v) dv[at] += static_cast<float>(sum_q);
}

void noise_backward(const Tensor& dz, const Tensor& eps, const Tensor& v, Tensor& q, Tensor& dcenter, Tensor& dd,
                    Tensor& dv, int64_t first) {
  const char* where = "noise_backward";
  Extents e(dz, where);
  e.classes = dcenter.dim(1);
  launch(where, noise_backward_kernel, ceil_div(e.columns(), kThreads), kThreads, e, first, dz.data<float>(),
         eps.data<float>(), floats(v), v.defined() ? q.data<float>() : nullptr, dcenter.data<float>(), dd.data<float>(),
         v.defined() ? dv.data<float>() : nullptr);
}

// ---- one label an example ------------------------------------------------------------------------

/// One tile read, the second time from cache: 13 instructions and a quarter of a load an element in bf16, 26 and a half
/// in f32 (28 and 2 element by element).
template <int kLanes, int kN, class T>
__global__ void label_tile_forward_kernel(Extents e, const T* a, const int64_t* labels, float* lse,
                                          float* target_logit) {
  const Team<kLanes> team;
  if (team.row >= e.rows()) return;
  const T* row = a + team.row * e.K;
  const RowSum<kLanes, T, kN> s(team, row, e.K);
  if (team.lane != 0) return;
  const int64_t i = e.by_sample(team.row);
  lse[i] = log_add_exp(lse[i], s.shift + math::log(s.sum));
  if (!labels) return;
  const int64_t k = labels[e.example(team.row)] - e.at.class_index;
  if (k >= 0 && k < e.K) target_logit[i] = widen(row[k]);
}

void label_tile_forward(const Tensor& a, const Tensor& labels, Tensor& lse, Tensor& target_logit, TileOrigin at) {
  const char* where = "label_tile_forward";
  Extents e(a, where, at);
  e.S = lse.dim(1);
  const int64_t* label = labels.defined() ? labels.data<int64_t>() : nullptr;
  visit_tile(a, e, where, [&]<class T, int kN>(T, std::integral_constant<int, kN>) {
    visit_team(e.K, [&]<int kLanes>(std::integral_constant<int, kLanes>) {
      launch(where, label_tile_forward_kernel<kLanes, kN, T>, team_blocks<kLanes>(e.rows()), kThreads, e, a.data<T>(),
             label, lse.data<float>(), label ? target_logit.data<float>() : nullptr);
    });
  });
}

struct LabelGradient {
  const int64_t* labels;
  const float *lse, *weight;

  struct Row {
    float shift, share;
    int label;  // in the tile, or −1
  };
  __device__ Row row(const Extents& e, int64_t r) const {
    const int64_t i = e.by_sample(r), label = labels[e.example(r)] - e.at.class_index;
    return {lse[i], weight[i], label >= 0 && label < e.K ? static_cast<int>(label) : -1};
  }
  template <class T>
  __device__ float operator()(const Row& row, int k, float a) const {
    const float p = row.share * exp_as<T>(a - row.shift);
    return k == row.label ? p - row.share : p;
  }
};

void label_tile_backward(Tensor& a, const Tensor& labels, const Tensor& lse, const Tensor& weight, Tensor& sums,
                         TileOrigin at) {
  const char* where = "label_tile_backward";
  Extents e(a, where, at);
  const int64_t* label = labels.data<int64_t>();
  e.S = lse.dim(1);
  tile_backward(where, e, LabelGradient{label, lse.data<float>(), weight.data<float>()}, a, sums);
}

// ---- every class ---------------------------------------------------------------------------------

template <class T, ClassLog kLog>
__device__ float log_of(float a, float lse) {
  if constexpr (kLog == ClassLog::softmax) return a - lse;
  if constexpr (kLog == ClassLog::sigmoid) return sigmoids<T>(a).log_up;
  return sigmoids<T>(a).log_down;
}

/// One thread a column; the tile is read twice, the second time from cache where it fits.
template <ClassLog kLog, class T>
__global__ void class_tile_forward_kernel(Extents e, const T* a, const float* lse, float* log_p) {
  const int64_t column = global_thread();
  if (column >= e.columns()) return;
  const int64_t b = column / e.K, k = column - b * e.K;
  const auto x = [&](int64_t s) {
    const float shift = kLog == ClassLog::softmax ? lse[b * e.S + e.at.sample + s] : 0.0f;
    return log_of<T, kLog>(widen(a[(b * e.C + s) * e.K + k]), shift);
  };
  float high = -INFINITY;
  double sum = 0;
  for (int64_t s = 0; s < e.C; ++s) high = Greater{}(x(s), high);
  high = finite_shift(high);
  for (int64_t s = 0; s < e.C; ++s) sum += exp_as<T>(x(s) - high);
  float& out = log_p[b * e.classes + e.at.class_index + k];
  out = log_add_exp(out, high + math::log(static_cast<float>(sum)));
}

void class_tile_forward(const Tensor& a, const Tensor& lse, Tensor& log_p, ClassLog log, TileOrigin at) {
  const char* where = "class_tile_forward";
  Extents e(a, where, at);
  e.classes = log_p.dim(1);
  if (log == ClassLog::softmax) e.S = lse.dim(1);
  visit_device(a.dtype(), where, [&]<class T>(T) {
    const auto run = [&](auto kernel) {
      launch(where, kernel, ceil_div(e.columns(), kThreads), kThreads, e, a.data<T>(), floats(lse),
             log_p.data<float>());
    };
    if (log == ClassLog::softmax) return run(class_tile_forward_kernel<ClassLog::softmax, T>);
    if (log == ClassLog::sigmoid) return run(class_tile_forward_kernel<ClassLog::sigmoid, T>);
    run(class_tile_forward_kernel<ClassLog::sigmoid_complement, T>);
  });
}

/// One tile and, mostly from cache, a row of log_p and share for each of its rows.
template <int kLanes, class T>
__global__ void soft_tile_weights_kernel(Extents e, const T* a, const float* lse, const float* log_p,
                                         const float* share, float* total) {
  const Team<kLanes> team;
  if (team.row >= e.rows()) return;
  const int64_t i = e.by_sample(team.row), from = e.by_class(team.row);
  const float shift = lse[i];
  float sum = 0;
  for (int64_t k = team.lane; k < e.K; k += kLanes)
    sum += share[from + k] * exp_as<T>(widen(a[team.row * e.K + k]) - shift - log_p[from + k]);
  sum = team.sum(sum);
  if (team.lane == 0) total[i] += sum;
}

Extents soft_extents(const Tensor& a, const Tensor& lse, const Tensor& log_p, TileOrigin at, const char* where) {
  Extents e(a, where, at);
  e.S = lse.dim(1);
  e.classes = log_p.dim(1);
  return e;
}

void soft_tile_weights(const Tensor& a, const Tensor& lse, const Tensor& log_p, const Tensor& share, Tensor& total,
                       TileOrigin at) {
  const char* where = "soft_tile_weights";
  const Extents e = soft_extents(a, lse, log_p, at, where);
  visit_device(a.dtype(), where, [&]<class T>(T) {
    visit_team(e.K, [&]<int kLanes>(std::integral_constant<int, kLanes>) {
      launch(where, soft_tile_weights_kernel<kLanes, T>, team_blocks<kLanes>(e.rows()), kThreads, e, a.data<T>(),
             lse.data<float>(), log_p.data<float>(), share.data<float>(), total.data<float>());
    });
  });
}

struct SoftGradient {
  const float *lse, *log_p, *share, *total;

  struct Row {
    float shift, sum;
    const float *log_p, *share;
  };
  __device__ Row row(const Extents& e, int64_t r) const {
    const int64_t i = e.by_sample(r), from = e.by_class(r);
    return {lse[i], total[i], log_p + from, share + from};
  }
  template <class T>
  __device__ float operator()(const Row& row, int k, float a) const {
    const float log_softmax = a - row.shift;
    return row.sum * exp_as<T>(log_softmax) - row.share[k] * exp_as<T>(log_softmax - row.log_p[k]);
  }
};

void soft_tile_backward(Tensor& a, const Tensor& lse, const Tensor& log_p, const Tensor& share, const Tensor& total,
                        Tensor& sums, TileOrigin at) {
  const char* where = "soft_tile_backward";
  const Extents e = soft_extents(a, lse, log_p, at, where);
  const SoftGradient f{lse.data<float>(), log_p.data<float>(), share.data<float>(), total.data<float>()};
  tile_backward(where, e, f, a, sums);
}

struct SigmoidGradient {
  const float *log_p, *log_not_p, *share, *rest;

  __device__ int64_t row(const Extents& e, int64_t r) const { return e.by_class(r); }
  template <class T>
  __device__ float operator()(int64_t from, int k, float x) const {
    const Sigmoids s = sigmoids<T>(x);
    return rest[from + k] * exp_as<T>(s.log_down - log_not_p[from + k]) * s.up -
           share[from + k] * exp_as<T>(s.log_up - log_p[from + k]) * s.down;
  }
};

void sigmoid_tile_backward(Tensor& a, const Tensor& log_p, const Tensor& log_not_p, const Tensor& share,
                           const Tensor& rest, Tensor& sums, TileOrigin at) {
  const char* where = "sigmoid_tile_backward";
  Extents e(a, where, at);
  e.classes = log_p.dim(1);
  const SigmoidGradient f{log_p.data<float>(), log_not_p.data<float>(), share.data<float>(), rest.data<float>()};
  tile_backward(where, e, f, a, sums);
}

// ---- classes that choose among the examples too --------------------------------------------------

/// A block for 32 columns of a sample: a warp reads 32 neighbors of a row. The tile is read twice, the second time
/// from cache where it fits.
template <class T>
__global__ void column_tile_forward_kernel(Extents e, const T* a, float* lse) {
  __shared__ float highs[kLines][kWarp];
  __shared__ double sums[kLines][kWarp];
  const int64_t blocks = (e.K + kWarp - 1) / kWarp, s = blockIdx.x / blocks, step = e.C * e.K;
  const int lane = threadIdx.x % kWarp, line = threadIdx.x / kWarp;
  const int64_t k = blockIdx.x % blocks * kWarp + lane, rows = k < e.K ? e.B : 0;
  const T* column = a + s * e.K + k;
  float high = -INFINITY;
  for (int64_t b = line; b < rows; b += kLines) high = Greater{}(widen(column[b * step]), high);
  highs[line][lane] = high;
  __syncthreads();
  for (int l = 0; l < kLines; ++l) high = Greater{}(highs[l][lane], high);
  high = finite_shift(high);
  double sum = 0;
  for (int64_t b = line; b < rows; b += kLines) sum += exp_as<T>(widen(column[b * step]) - high);
  sums[line][lane] = sum;
  __syncthreads();
  if (line > 0 || k >= e.K) return;
  for (int l = 1; l < kLines; ++l) sum += sums[l][lane];
  float& out = lse[(e.at.sample + s) * e.classes + e.at.class_index + k];
  out = log_add_exp(out, high + math::log(static_cast<float>(sum)));
}

void column_tile_forward(const Tensor& a, Tensor& lse, TileOrigin at) {
  const char* where = "column_tile_forward";
  Extents e(a, where, at);
  e.classes = lse.dim(1);
  visit_device(a.dtype(), where, [&]<class T>(T) {
    launch(where, column_tile_forward_kernel<T>, e.C * ceil_div(e.K, kWarp), kThreads, e, a.data<T>(),
           lse.data<float>());
  });
}

struct PairGradient {
  LabelGradient examples;
  const float *column_lse, *column_weight;

  struct Row {
    LabelGradient::Row own;
    int64_t column;
  };
  __device__ Row row(const Extents& e, int64_t r) const {
    return {examples.row(e, r), (e.at.sample + e.sample(r)) * e.classes + e.at.class_index};
  }
  template <class T>
  __device__ float operator()(const Row& row, int k, float a) const {
    const float share = column_weight[row.column + k];
    const float p = row.own.share * exp_as<T>(a - row.own.shift) + share * exp_as<T>(a - column_lse[row.column + k]);
    return k == row.own.label ? p - (row.own.share + share) : p;
  }
};

void pair_tile_backward(Tensor& a, const Tensor& labels, const Tensor& lse, const Tensor& weight,
                        const Tensor& column_lse, const Tensor& column_weight, Tensor& sums, TileOrigin at) {
  const char* where = "pair_tile_backward";
  Extents e(a, where, at);
  const int64_t* label = labels.data<int64_t>();
  e.S = lse.dim(1);
  e.classes = column_lse.dim(1);
  const LabelGradient own{label, lse.data<float>(), weight.data<float>()};
  const PairGradient f{own, column_lse.data<float>(), column_weight.data<float>()};
  tile_backward(where, e, f, a, sums);
}

[[maybe_unused]] const bool registered = kernel::noise_forward.define(Device::cuda, noise_forward) &&
                                         kernel::noise_backward.define(Device::cuda, noise_backward) &&
                                         kernel::label_tile_forward.define(Device::cuda, label_tile_forward) &&
                                         kernel::label_tile_backward.define(Device::cuda, label_tile_backward) &&
                                         kernel::class_tile_forward.define(Device::cuda, class_tile_forward) &&
                                         kernel::soft_tile_weights.define(Device::cuda, soft_tile_weights) &&
                                         kernel::soft_tile_backward.define(Device::cuda, soft_tile_backward) &&
                                         kernel::sigmoid_tile_backward.define(Device::cuda, sigmoid_tile_backward) &&
                                         kernel::column_tile_forward.define(Device::cuda, column_tile_forward) &&
                                         kernel::pair_tile_backward.define(Device::cuda, pair_tile_backward);

}  // namespace
}  // namespace sked::cuda
