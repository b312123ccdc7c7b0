// The softmax family: a team of threads for each row, which is read from memory once and again from cache. About 20
// operations an exponential, so bound by memory.

#include "core/kernels/softmax.h"

#include <cmath>

#include "cuda/softmax_rows.cuh"
#include "cuda/strided.cuh"

namespace sked::cuda {
namespace {

/// y = softmax or log-softmax; 2 · N·K elements moved. x − max before − log Σ, not x − logsumexp: at logits of 1e4 the
/// latter would keep 3 digits of a small log Σ.
template <int kLanes, bool kLog, class T>
__global__ void softmax_kernel(int64_t N, int64_t K, const T* x, T* y) {
  const Team<kLanes> team;
  if (team.row >= N) return;
  const T* in = x + team.row * K;
  T* out = y + team.row * K;
  const RowSum<kLanes, T> s(team, in, K);
  const float factor = kLog ? math::log(s.sum) : 1.0f / s.sum;
  for (int64_t k = team.lane; k < K; k += kLanes) {
    const float shifted = widen(in[k]) - s.shift;
    out[k] = narrow<T>(kLog ? shifted - factor : exp_as<T>(shifted) * factor);
  }
}

/// dx = y (dy − Σ dy y), or dy − exp(y) Σ dy for log-softmax; 3 · N·K elements moved.
template <int kLanes, bool kLog, class T>
__global__ void softmax_backward_kernel(int64_t N, int64_t K, const T* dy, const T* y, T* dx) {
  const Team<kLanes> team;
  if (team.row >= N) return;
  const T *g = dy + team.row * K, *p = y + team.row * K;
  T* out = dx + team.row * K;
  float sum = 0;
  for (int64_t k = team.lane; k < K; k += kLanes) sum += kLog ? widen(g[k]) : widen(g[k]) * widen(p[k]);
  sum = team.sum(sum);
  for (int64_t k = team.lane; k < K; k += kLanes) {
    out[k] = narrow<T>(kLog ? widen(g[k]) - exp_as<T>(widen(p[k])) * sum : widen(p[k]) * (widen(g[k]) - sum));
  }
}

template <bool kLog>
void forward(const Tensor& x, Tensor& y, const char* where) {
  const auto [N, K] = row_sizes(x);
  if (K == 0) return;
  visit_device(x.dtype(), where, [&, N = N, K = K]<class T>(T) {
    visit_team(K, [&]<int kLanes>(std::integral_constant<int, kLanes>) {
      launch(where, softmax_kernel<kLanes, kLog, T>, team_blocks<kLanes>(N), kThreads, N, K, x.data<T>(), y.data<T>());
    });
  });
}

template <bool kLog>
void backward(const Tensor& dy, const Tensor& y, Tensor& dx, const char* where) {
  const auto [N, K] = row_sizes(y);
  if (K == 0) return;
  visit_device(y.dtype(), where, [&, N = N, K = K]<class T>(T) {
    visit_team(K, [&]<int kLanes>(std::integral_constant<int, kLanes>) {
      launch(where, softmax_backward_kernel<kLanes, kLog, T>, team_blocks<kLanes>(N), kThreads, N, K, dy.data<T>(),
             y.data<T>(), dx.data<T>());
    });
  });
}

void softmax_forward(const Tensor& x, Tensor& y) { forward<false>(x, y, "softmax_forward"); }
void softmax_backward(const Tensor& dy, const Tensor& y, Tensor& dx) { backward<false>(dy, y, dx, "softmax_backward"); }
void log_softmax_forward(const Tensor& x, Tensor& y) { forward<true>(x, y, "log_softmax_forward"); }
void log_softmax_backward(const Tensor& dy, const Tensor& y, Tensor& dx) {
  backward<true>(dy, y, dx, "log_softmax_backward");
}

// ---- logsumexp over any axis ---------------------------------------------------------------------

template <int kLanes, class T>
__global__ void logsumexp_rows_kernel(int64_t N, int64_t K, const T* x, T* y) {
  const Team<kLanes> team;
  if (team.row >= N) return;
  const RowSum<kLanes, T> s(team, x + team.row * K, K);
  if (team.lane == 0) y[team.row] = narrow<T>(s.shift + math::log(s.sum));
}

/// inner > 1: one thread a column; neighbors read neighbors.
template <class T>
__global__ void logsumexp_columns_kernel(ReduceView v, const T* x, T* y) {
  const int64_t index = global_thread();
  if (index >= v.outer * v.inner) return;
  const int64_t o = index / v.inner, j = index - o * v.inner;
  const T* in = x + o * v.n * v.inner + j;
  float max = -INFINITY, sum = 0;
  for (int64_t i = 0; i < v.n; ++i) max = Greater{}(widen(in[i * v.inner]), max);
  const float shift = finite_shift(max);
  for (int64_t i = 0; i < v.n; ++i) sum += math::exp(widen(in[i * v.inner]) - shift);
  y[index] = narrow<T>(shift + math::log(sum));
}

void logsumexp_forward(const Tensor& x, Tensor& y, ReduceView view) {
  const char* where = "logsumexp_forward";
  visit_device(x.dtype(), where, [&]<class T>(T) {
    if (view.inner != 1) {
      return launch(where, logsumexp_columns_kernel<T>, ceil_div(y.numel(), kThreads), kThreads, view, x.data<T>(),
                    y.data<T>());
    }
    visit_team(view.n, [&]<int kLanes>(std::integral_constant<int, kLanes>) {
      launch(where, logsumexp_rows_kernel<kLanes, T>, team_blocks<kLanes>(view.outer), kThreads, view.outer, view.n,
             x.data<T>(), y.data<T>());
    });
  });
}

/// 2 · elements of x moved, and the results' where they do not stay in cache.
template <class T, class Index>
__global__ void logsumexp_backward_kernel(Index count, Divisor<Index> n, Divisor<Index> inner, const T* x, const T* y,
                                          const T* dy, T* dx) {
  const auto i = static_cast<Index>(global_thread());
  if (i >= count) return;
  const Index row = i / inner, at = row / n * inner.by() + (i - row * inner.by());
  const float lse = widen(y[at]);
  dx[i] = narrow<T>(lse == -INFINITY ? 0.0f : widen(dy[at]) * exp_as<T>(widen(x[i]) - lse));
}

void logsumexp_backward(const Tensor& x, const Tensor& y, const Tensor& dy, Tensor& dx, ReduceView view) {
  const char* where = "logsumexp_backward";
  visit_device(x.dtype(), where, [&]<class T>(T) {
    visit_index(x.numel(), [&]<class Index>(Index) {
      launch(where, logsumexp_backward_kernel<T, Index>, ceil_div(x.numel(), kThreads), kThreads,
             static_cast<Index>(x.numel()), Divisor<Index>(view.n), Divisor<Index>(view.inner), x.data<T>(),
             y.data<T>(), dy.data<T>(), dx.data<T>());
    });
  });
}

// ---- cross-entropy -------------------------------------------------------------------------------

/// N·K elements read. A row with a label out of range gets NaN; the fault is thrown when the host next looks.
template <int kLanes, class T>
__global__ void cross_entropy_forward_kernel(int64_t N, int64_t K, const T* x, const int64_t* labels, float* loss,
                                             float* lse, FaultSite site) {
  const Team<kLanes> team;
  if (team.row >= N) return;
  const T* in = x + team.row * K;
  const RowSum<kLanes, T> s(team, in, K);
  if (team.lane != 0) return;
  const int64_t label = labels[team.row];
  const bool ok = is_index(label, K, team.row, site);
  const float log_sum = math::log(s.sum);
  lse[team.row] = s.shift + log_sum;
  loss[team.row] = ok ? log_sum - (widen(in[label]) - s.shift) : NAN;
}

void cross_entropy_forward(const Tensor& x, const Tensor& labels, Tensor& loss, Tensor& lse) {
  const char* where = "cross_entropy_forward";
  const auto [N, K] = row_sizes(x);
  visit_device(x.dtype(), where, [&, N = N, K = K]<class T>(T) {
    visit_team(K, [&]<int kLanes>(std::integral_constant<int, kLanes>) {
      launch(where, cross_entropy_forward_kernel<kLanes, T>, team_blocks<kLanes>(N), kThreads, N, K, x.data<T>(),
             labels.data<int64_t>(), loss.data<float>(), lse.data<float>(), fault_site(where));
    });
  });
}

/// 2 · N·K elements moved.
template <int kLanes, class T>
__global__ void cross_entropy_backward_kernel(int64_t N, int64_t K, const float* dloss, const T* x,
                                              const int64_t* labels, const float* lse, T* dx, FaultSite site) {
  const Team<kLanes> team;
  if (team.row >= N) return;
  const int64_t label = labels[team.row];
  if (team.lane == 0) is_index(label, K, team.row, site);
  const float g = dloss[team.row], l = lse[team.row];
  for (int64_t k = team.lane; k < K; k += kLanes) {
    const float p = g * math::exp(widen(x[team.row * K + k]) - l);
    dx[team.row * K + k] = narrow<T>(k == label ? p - g : p);
  }
}

void cross_entropy_backward(const Tensor& dloss, const Tensor& x, const Tensor& labels, const Tensor& lse, Tensor& dx) {
  const char* where = "cross_entropy_backward";
  const auto [N, K] = row_sizes(x);
  visit_device(x.dtype(), where, [&, N = N, K = K]<class T>(T) {
    visit_team(K, [&]<int kLanes>(std::integral_constant<int, kLanes>) {
      launch(where, cross_entropy_backward_kernel<kLanes, T>, team_blocks<kLanes>(N), kThreads, N, K,
             dloss.data<float>(), x.data<T>(), labels.data<int64_t>(), lse.data<float>(), dx.data<T>(),
             fault_site(where));
    });
  });
}

[[maybe_unused]] const bool registered = kernel::softmax_forward.define(Device::cuda, softmax_forward) &&
                                         kernel::softmax_backward.define(Device::cuda, softmax_backward) &&
                                         kernel::log_softmax_forward.define(Device::cuda, log_softmax_forward) &&
                                         kernel::log_softmax_backward.define(Device::cuda, log_softmax_backward) &&
                                         kernel::logsumexp_forward.define(Device::cuda, logsumexp_forward) &&
                                         kernel::logsumexp_backward.define(Device::cuda, logsumexp_backward) &&
                                         kernel::cross_entropy_forward.define(Device::cuda, cross_entropy_forward) &&
                                         kernel::cross_entropy_backward.define(Device::cuda, cross_entropy_backward);

}  // namespace
}  // namespace sked::cuda
