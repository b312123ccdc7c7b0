// Layer norm: a team of threads for each row, read from memory once and twice more from cache.

#include "core/kernels/norm.h"
#include "core/kernels/sizes.h"
#include "cuda/columns.cuh"
#include "cuda/teams.cuh"

namespace sked::cuda {
namespace {

/// mean, then Σ (x − mean)², then y. 2 · N·D elements moved, 8 operations each. kN elements a load: rows are whole
/// packs.
template <int kLanes, int kN, class T>
__global__ void layer_norm_forward_kernel(int64_t N, int64_t D, float eps, const T* x, const float* gamma,
                                          const float* beta, T* y, float* mean, float* rstd) {
  const Team<kLanes> team;
  if (team.row >= N) return;
  const T* row = x + team.row * D;
  T* out = y + team.row * D;
  const int64_t first = static_cast<int64_t>(team.lane) * kN, step = int64_t{kLanes} * kN;
  float sum = 0, squares = 0;
  for (int64_t d = first; d < D; d += step) {
    const Pack<T, kN> in = load<kN>(row + d);
#pragma unroll
    for (int k = 0; k < kN; ++k) sum += widen(in.v[k]);
  }
  const float m = team.sum(sum) / static_cast<float>(D);
  for (int64_t d = first; d < D; d += step) {
    const Pack<T, kN> in = load<kN>(row + d);
#pragma unroll
    for (int k = 0; k < kN; ++k) squares += (widen(in.v[k]) - m) * (widen(in.v[k]) - m);
  }
  const float r = 1.0f / sqrtf(team.sum(squares) / static_cast<float>(D) + eps);
  if (team.lane == 0) mean[team.row] = m, rstd[team.row] = r;
  for (int64_t d = first; d < D; d += step) {
    const Pack<T, kN> in = load<kN>(row + d);
    Pack<T, kN> result;
#pragma unroll
    for (int k = 0; k < kN; ++k) {
      const float xhat = (widen(in.v[k]) - m) * r;
      result.v[k] = static_cast<T>(gamma ? gamma[d + k] * xhat + beta[d + k] : xhat);
    }
    store(out + d, result);
  }
}

/// Calls f(kLanes, kN) with the team and the pack for rows of width D.
template <class T, class F>
void visit_rows(int64_t D, std::initializer_list<const void*> pointers, F&& f) {
  const bool packs = D % kWide<T> == 0 && aligned16(pointers);
  visit_team(D, [&]<int kLanes>(std::integral_constant<int, kLanes> lanes) {
    if (packs) return f(lanes, std::integral_constant<int, kWide<T>>{});
    f(lanes, std::integral_constant<int, 1>{});
  });
}

const float* floats(const Tensor& t) { return t.defined() ? t.data<float>() : nullptr; }
float* floats(Tensor& t) { return t.defined() ? t.data<float>() : nullptr; }

void layer_norm_forward(const Tensor& x, const Tensor& gamma, const Tensor& beta, Tensor& y, Tensor& mean, Tensor& rstd,
                        double eps) {
  const char* where = "layer_norm_forward";
  const auto [N, D] = LayerNormSizes(x, y, gamma, beta, mean, rstd, where);
  require(gamma.defined() == beta.defined(), where, "expected gamma and beta both defined or both undefined");
  visit_device(x.dtype(), where, [&, N = N, D = D]<class T>(T) {
    const T* in = x.data<T>();
    T* out = y.data<T>();
    visit_rows<T>(
        D, {in, out}, [&]<int kLanes, int kN>(std::integral_constant<int, kLanes>, std::integral_constant<int, kN>) {
          launch(where, layer_norm_forward_kernel<kLanes, kN, T>, team_blocks<kLanes>(N), kThreads, N, D,
                 static_cast<float>(eps), in, floats(gamma), floats(beta), out, mean.data<float>(), rstd.data<float>());
        });
  });
}

/// dx = rstd (g − mean g − x̂ mean(g x̂)), g = dy γ. 3 · N·D elements moved.
template <int kLanes, int kN, class T>
__global__ void layer_norm_backward_kernel(int64_t N, int64_t D, const T* dy, const T* x, const float* gamma,
                                           const float* mean, const float* rstd, T* dx) {
  const Team<kLanes> team;
  if (team.row >= N) return;
  const T *up = dy + team.row * D, *in = x + team.row * D;
  T* out = dx + team.row * D;
  const float m = mean[team.row], r = rstd[team.row];
  const int64_t first = static_cast<int64_t>(team.lane) * kN, step = int64_t{kLanes} * kN;
  float sum_g = 0, sum_gx = 0;
  for (int64_t d = first; d < D; d += step) {
    const Pack<T, kN> a = load<kN>(up + d), b = load<kN>(in + d);
#pragma unroll
    for (int k = 0; k < kN; ++k) {
      const float g = widen(a.v[k]) * (gamma ? gamma[d + k] : 1.0f);
      sum_g += g;
      sum_gx += g * (widen(b.v[k]) - m);
    }
  }
  const float mean_g = team.sum(sum_g) / static_cast<float>(D), mean_gx = team.sum(sum_gx) * r / static_cast<float>(D);
  for (int64_t d = first; d < D; d += step) {
    const Pack<T, kN> a = load<kN>(up + d), b = load<kN>(in + d);
    Pack<T, kN> result;
#pragma unroll
    for (int k = 0; k < kN; ++k) {
      const float g = widen(a.v[k]) * (gamma ? gamma[d + k] : 1.0f);
      result.v[k] = static_cast<T>(r * (g - mean_g - (widen(b.v[k]) - m) * r * mean_gx));
    }
    store(out + d, result);
  }
}

/// The terms of dγ and dβ.
template <class T>
struct AffineTerms {
  const T *dy, *x;
  const float *mean, *rstd;
  int64_t D;
  __device__ Sums<2> operator()(int64_t, int64_t n, int64_t d) const {
    const float g = widen(dy[n * D + d]);
    return {{g * ((widen(x[n * D + d]) - mean[n]) * rstd[n]), g}};
  }
};

/// With dγ and dβ dy and x are read once more: 5 · N·D elements moved where 3 are the floor.
void layer_norm_backward(const Tensor& dy, const Tensor& x, const Tensor& gamma, const Tensor& mean, const Tensor& rstd,
                         Tensor& dx, Tensor& dgamma, Tensor& dbeta) {
  const char* where = "layer_norm_backward";
  const auto [N, D] = LayerNormSizes(x, dy, gamma, dgamma, mean, rstd, where);
  LayerNormSizes(x, dx, gamma, dbeta, mean, rstd, where);
  visit_device(x.dtype(), where, [&, N = N, D = D]<class T>(T) {
    const T *up = dy.data<T>(), *in = x.data<T>();
    T* out = dx.data<T>();
    const float *mu = mean.data<float>(), *r = rstd.data<float>();
    visit_rows<T>(D, {up, in, out},
                  [&]<int kLanes, int kN>(std::integral_constant<int, kLanes>, std::integral_constant<int, kN>) {
                    launch(where, layer_norm_backward_kernel<kLanes, kN, T>, team_blocks<kLanes>(N), kThreads, N, D, up,
                           in, floats(gamma), mu, r, out);
                  });
    if (dgamma.defined() || dbeta.defined())
      sum_columns<2>(where, N, D, AffineTerms<T>{up, in, mu, r, D}, {{floats(dgamma), floats(dbeta)}});
  });
}

[[maybe_unused]] const bool registered = kernel::layer_norm_forward.define(Device::cuda, layer_norm_forward) &&
                                         kernel::layer_norm_backward.define(Device::cuda, layer_norm_backward);

}  // namespace
}  // namespace sked::cuda
