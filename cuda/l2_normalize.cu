// Rows brought to length 1: a team of threads for each, read from memory once and once more from cache.

#include "core/kernels/l2_normalize.h"
#include "cuda/teams.cuh"

namespace sked::cuda {
namespace {

/// 2 · N·D elements moved, 3 operations each.
template <int kLanes, class T>
__global__ void l2_normalize_forward_kernel(int64_t N, int64_t D, float eps, const T* x, T* y, float* r) {
  const Team<kLanes> team;
  if (team.row >= N) return;
  const T* row = x + team.row * D;
  T* out = y + team.row * D;
  float squares = 0;
  for (int64_t d = team.lane; d < D; d += kLanes) squares += widen(row[d]) * widen(row[d]);
  const float s = 1.0f / sqrtf(team.sum(squares) + eps);
  if (team.lane == 0) r[team.row] = s;
  for (int64_t d = team.lane; d < D; d += kLanes) out[d] = narrow<T>(widen(row[d]) * s);
}

void l2_normalize_forward(const Tensor& x, Tensor& y, Tensor& r, double eps) {
  const char* where = "l2_normalize_forward";
  const int64_t N = x.dim(0), D = x.dim(1);
  visit_device(x.dtype(), where, [&, N = N, D = D]<class T>(T) {
    visit_team(D, [&]<int kLanes>(std::integral_constant<int, kLanes>) {
      launch(where, l2_normalize_forward_kernel<kLanes, T>, team_blocks<kLanes>(N), kThreads, N, D,
             static_cast<float>(eps), x.data<T>(), y.data<T>(), r.data<float>());
    });
  });
}

/// dx = r (dy − y Σ dy y). 3 · N·D elements moved.
template <int kLanes, class T>
__global__ void l2_normalize_backward_kernel(int64_t N, int64_t D, const T* dy, const T* y, const float* r, T* dx) {
  const Team<kLanes> team;
  if (team.row >= N) return;
  const T *up = dy + team.row * D, *in = y + team.row * D;
  T* out = dx + team.row * D;
  float product = 0;
  for (int64_t d = team.lane; d < D; d += kLanes) product += widen(up[d]) * widen(in[d]);
  const float along = team.sum(product), s = r[team.row];
  for (int64_t d = team.lane; d < D; d += kLanes) out[d] = narrow<T>(s * (widen(up[d]) - widen(in[d]) * along));
}

void l2_normalize_backward(const Tensor& dy, const Tensor& y, const Tensor& r, Tensor& dx) {
  const char* where = "l2_normalize_backward";
  const int64_t N = y.dim(0), D = y.dim(1);
  visit_device(y.dtype(), where, [&, N = N, D = D]<class T>(T) {
    visit_team(D, [&]<int kLanes>(std::integral_constant<int, kLanes>) {
      launch(where, l2_normalize_backward_kernel<kLanes, T>, team_blocks<kLanes>(N), kThreads, N, D, dy.data<T>(),
             y.data<T>(), r.data<float>(), dx.data<T>());
    });
  });
}

[[maybe_unused]] const bool registered = kernel::l2_normalize_forward.define(Device::cuda, l2_normalize_forward) &&
                                         kernel::l2_normalize_backward.define(Device::cuda, l2_normalize_backward);

}  // namespace
}  // namespace sked::cuda
