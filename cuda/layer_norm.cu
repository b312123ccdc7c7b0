// Layer norm: a row is read once and stays in registers between the passes over it, up to 4096 elements in packs of
// four, or 1024 where D is no multiple of four. Wider rows are read again, from cache.

#include <algorithm>

#include "core/kernels/layer_norm.h"
#include "cuda/columns.cuh"

namespace sked::cuda {
namespace {

/// How a row is cut: packs of N elements, of which each of a team's Lanes threads holds Packs. A team is a warp or a
/// block.
template <int Lanes, int N, int Packs>
struct Cut {
  static constexpr int kLanes = Lanes, kN = N, kPacks = Packs;
  static constexpr int kBlock = Lanes == kWarp ? kThreads : Lanes;  // its threads
  static constexpr int kTeams = kBlock / Lanes;                     // of a block
  static constexpr int kWidest = Lanes * N * Packs;                 // row
  /// Blocks a multiprocessor, backwards.
  static constexpr int resident() { return (N * Packs <= 8 ? 768 : 512) / kBlock; }
  /// Where this thread's pack j starts in a row.
  __device__ static int start(int j) { return (j * Lanes + static_cast<int>(threadIdx.x) % Lanes) * N; }
};
/// Rows too wide for registers.
struct Long {
  static constexpr int kBlock = kThreads, kTeams = 1;
  static constexpr int resident() { return 4; }
};

/// Calls f with the cut for rows of width D. Packs of four, also in bf16: 384 and 768 elements (ViT-S and -B) fill
/// warps by them, and three quarters of warps by packs of eight; 8-byte loads are as fast where a thread has three of
/// them.
template <class F>
void visit_cut(int64_t D, std::initializer_list<const void*> pointers, F&& f) {
  const bool packs = D % 4 == 0 && aligned16(pointers);
  const auto fits = [&]<class C>(C) { return D <= C::kWidest && C::kN == (packs ? 4 : 1); };
  const auto first_of = [&]<class... C>(C... cuts) { return ((fits(cuts) && (f(cuts), true)) || ...); };
  if (!first_of(Cut<32, 4, 1>{}, Cut<32, 4, 2>{}, Cut<32, 4, 3>{}, Cut<64, 4, 2>{}, Cut<64, 4, 3>{}, Cut<128, 4, 2>{},
                Cut<128, 4, 3>{}, Cut<256, 4, 2>{}, Cut<256, 4, 4>{}, Cut<32, 1, 4>{}, Cut<128, 1, 8>{}))
    f(Long{});
}

/// The same for the forward pass, which has registers to spare: bf16 rows of 385 to 1024 elements go to a warp in packs
/// of eight, without barriers.
template <class T, class F>
void visit_forward_cut(int64_t D, std::initializer_list<const void*> pointers, F&& f) {
  if constexpr (std::is_same_v<T, bf16>) {
    if (D % 8 == 0 && D > Cut<32, 4, 3>::kWidest && aligned16(pointers)) {
      if (D <= Cut<32, 8, 2>::kWidest) return f(Cut<32, 8, 2>{});
      if (D <= Cut<32, 8, 3>::kWidest) return f(Cut<32, 8, 3>{});
      if (D <= Cut<32, 8, 4>::kWidest) return f(Cut<32, 8, 4>{});
    }
  }
  visit_cut(D, pointers, f);
}

/// This thread's sum in, the team's out.
template <class C>
__device__ float team_sum(float value) {
  if constexpr (C::kTeams > 1) {
    return warp_reduce(value, Plus{});
  } else {
    return block_reduce(value, Plus{}, 0.0f);
  }
}

/// This thread's two sums in, the team's out.
template <class C>
__device__ void team_sums(float& a, float& b) {
  a = warp_reduce(a, Plus{}), b = warp_reduce(b, Plus{});
  if constexpr (C::kTeams == 1) {
    __shared__ float parts[2][kWarp];
    const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
    if (lane == 0) parts[0][warp] = a, parts[1][warp] = b;
    __syncthreads();
    const bool is_part = lane < C::kBlock / kWarp;
    a = warp_reduce(is_part ? parts[0][lane] : 0.0f, Plus{}), b = warp_reduce(is_part ? parts[1][lane] : 0.0f, Plus{});
    __syncthreads();  // parts may be written again
  }
}

/// A thread's part of a row: zero where the row has ended, and where there is none.
template <class C, class T>
struct Part {
  Pack<T, C::kN> v[C::kPacks];
  __device__ Part(const T* x, int64_t n, int D) {
#pragma unroll
    for (int j = 0; j < C::kPacks; ++j) {
      const int d = C::start(j);
      v[j] = load_if<C::kN>(x && d < D, x, n * D + d);
    }
  }
  /// The same of x + residual, stored in `sum` and kept as it is stored.
  __device__ void add(const T* residual, int64_t n, int D, T* sum) {
    const Part other(residual, n, D);
#pragma unroll
    for (int j = 0; j < C::kPacks; ++j) {
      const int d = C::start(j);
      if (d >= D) continue;
#pragma unroll
      for (int k = 0; k < C::kN; ++k) v[j].v[k] = narrow<T>(widen(v[j].v[k]) + widen(other.v[j].v[k]));
      store(sum + n * D + d, v[j]);
    }
  }
};

/// What rows are normalized: x, or x + residual, which is stored in `sum`; both null without a residual.
template <class T>
struct Rows {
  const T *x, *residual;
  T* sum;
};

/// mean, then Σ (x − mean)², then y. Floor: 2, with a residual 4 · N·D elements. γ and β come from the first-level
/// cache in 16-byte loads. Machine code for sm_90, bf16, D = 384, without a residual, an element: about 24
/// instructions, 0.75 loads (reading x three times, γ and β one by one: 47 and 2.9); 18 at D = 768, 17 at 1024. An H100
/// issues 39 while it moves the 4 bytes.
template <class C, class T>
__global__ void layer_norm_forward_kernel(int64_t N, int D, float eps, Rows<T> rows, const float* gamma,
                                          const float* beta, T* y, float* mean, float* rstd) {
  const int64_t n = global_thread() / C::kLanes;
  if (n >= N) return;
  Part<C, T> in(rows.x, n, D);
  if (rows.residual) in.add(rows.residual, n, D, rows.sum);
  float sum = 0, squares = 0;
#pragma unroll
  for (int j = 0; j < C::kPacks; ++j)
#pragma unroll
    for (int k = 0; k < C::kN; ++k) sum += widen(in.v[j].v[k]);
  const float m = team_sum<C>(sum) / static_cast<float>(D);
#pragma unroll
  for (int j = 0; j < C::kPacks; ++j) {
    if (C::start(j) >= D) continue;
#pragma unroll
    for (int k = 0; k < C::kN; ++k) squares += (widen(in.v[j].v[k]) - m) * (widen(in.v[j].v[k]) - m);
  }
  const float r = 1.0f / sqrtf(team_sum<C>(squares) / static_cast<float>(D) + eps);
  if (threadIdx.x % C::kLanes == 0) mean[n] = m, rstd[n] = r;
#pragma unroll
  for (int j = 0; j < C::kPacks; ++j) {
    const int d = C::start(j);
    if (d >= D) continue;
    Floats<C::kN> scale{}, shift{};
    if (gamma) scale = load_floats<C::kN>(gamma + d), shift = load_floats<C::kN>(beta + d);
    Pack<T, C::kN> out;
#pragma unroll
    for (int k = 0; k < C::kN; ++k) {
      const float xhat = (widen(in.v[j].v[k]) - m) * r;
      out.v[k] = narrow<T>(gamma ? scale.v[k] * xhat + shift.v[k] : xhat);
    }
    store(y + n * D + d, out);
  }
}

/// The same by a block that reads its row three times, the second and third from cache.
template <class T>
__global__ void long_forward_kernel(int64_t, int64_t D, float eps, Rows<T> rows, const float* gamma, const float* beta,
                                    T* y, float* mean, float* rstd) {
  const int64_t n = blockIdx.x;
  const T* row = rows.x + n * D;
  if (rows.residual) {
    T* const total = rows.sum + n * D;
    // Each thread reads below what it has written here.
    for (int64_t d = threadIdx.x; d < D; d += kThreads)
      total[d] = narrow<T>(widen(row[d]) + widen(rows.residual[n * D + d]));
    row = total;
  }
  float sum = 0, squares = 0;
  for (int64_t d = threadIdx.x; d < D; d += kThreads) sum += widen(row[d]);
  const float m = team_sum<Long>(sum) / static_cast<float>(D);
  for (int64_t d = threadIdx.x; d < D; d += kThreads) squares += (widen(row[d]) - m) * (widen(row[d]) - m);
  const float r = 1.0f / sqrtf(team_sum<Long>(squares) / static_cast<float>(D) + eps);
  if (threadIdx.x == 0) mean[n] = m, rstd[n] = r;
  for (int64_t d = threadIdx.x; d < D; d += kThreads) {
    const float xhat = (widen(row[d]) - m) * r;
    y[n * D + d] = narrow<T>(gamma ? gamma[d] * xhat + beta[d] : xhat);
  }
}

const float* floats(const Tensor& t) { return t.defined() ? t.data<float>() : nullptr; }
float* floats(Tensor& t) { return t.defined() ? t.data<float>() : nullptr; }

void layer_norm_forward(const Tensor& x, const Tensor& residual, const Tensor& gamma, const Tensor& beta, Tensor& sum,
                        Tensor& y, Tensor& mean, Tensor& rstd, double eps) {
  const char* where = "layer_norm_forward";
  const int64_t N = x.dim(0), D = x.dim(1);
  visit_device(x.dtype(), where, [&, N = N, D = D]<class T>(T) {
    const bool adds = residual.defined();
    const Rows<T> in{x.data<T>(), adds ? residual.data<T>() : nullptr, adds ? sum.data<T>() : nullptr};
    T* out = y.data<T>();
    const float *scale = floats(gamma), *shift = floats(beta);
    float *mu = mean.data<float>(), *r = rstd.data<float>();
    const auto e = static_cast<float>(eps);
    visit_forward_cut<T>(D, {in.x, in.residual, in.sum, out, scale, shift}, [&]<class C>(C) {
      if constexpr (std::is_same_v<C, Long>) {
        launch(where, long_forward_kernel<T>, N, C::kBlock, N, D, e, in, scale, shift, out, mu, r);
      } else {
        launch(where, layer_norm_forward_kernel<C, T>, ceil_div(N, C::kTeams), C::kBlock, N, D, e, in, scale, shift,
               out, mu, r);
      }
    });
  });
}

// ---- backward ------------------------------------------------------------------------------------

template <class T>
struct Backward {
  int64_t N, D;
  int64_t teams;  // of the grid; each takes every teams-th row
  const T *dy, *x;
  const float *gamma, *mean, *rstd;
  const T* residual;
  T* dx;
  double* partial;  // (blocks, 2, D): each block's Σ dy x̂ and Σ dy; or null
};

/// A block's sums of one kind, from its threads' (their rows' sums in f32), to (D).
template <class C>
__device__ void write_partial(const float (&mine)[C::kPacks][C::kN], int D, double* to) {
  if constexpr (C::kTeams == 1) {
#pragma unroll
    for (int j = 0; j < C::kPacks; ++j)
#pragma unroll
      for (int k = 0; k < C::kN; ++k)
        if (C::start(j) < D) to[C::start(j) + k] = static_cast<double>(mine[j][k]);
  } else {
    __shared__ float parts[C::kTeams][C::kPacks * C::kN][kWarp + 1];
    const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
#pragma unroll
    for (int j = 0; j < C::kPacks; ++j)
#pragma unroll
      for (int k = 0; k < C::kN; ++k) parts[warp][j * C::kN + k][lane] = mine[j][k];
    __syncthreads();
    for (int d = threadIdx.x; d < D; d += C::kBlock) {
      const int pack = d / C::kN;
      double total = 0;
      for (int w = 0; w < C::kTeams; ++w)
        total += static_cast<double>(parts[w][pack / kWarp * C::kN + d % C::kN][pack % kWarp]);
      to[d] = total;
    }
    __syncthreads();  // parts may be written again
  }
}

/// dx = rstd (g − mean g − x̂ mean(g x̂)) [+ residual], g = dy γ, and the blocks' sums for dγ and dβ, which its threads
/// keep in registers for their own columns, as they do γ. Floor: 3, with a residual 4 · N·D elements. Machine code for
/// sm_90, bf16, D = 384, an element: 32 instructions, 0.75 loads, 96 registers, nothing spilled (kernels for dx, for
/// the sums and for the residual's sum: 80 and 7.5); at D = 768, by blocks, 36 and two barriers a row. The sums of the
/// blocks are 2 · D f64 each. An H100 issues 59 while it moves 6 bytes, 79 while it moves 8.
template <class C, class T>
__global__ void __launch_bounds__(C::kBlock, C::resident()) layer_norm_backward_kernel(Backward<T> p) {
  const int D = static_cast<int>(p.D);
  float scale[C::kPacks][C::kN], dgamma[C::kPacks][C::kN] = {}, dbeta[C::kPacks][C::kN] = {};
#pragma unroll
  for (int j = 0; j < C::kPacks; ++j) {
    const Pack<float, C::kN> given = load_if<C::kN>(p.gamma && C::start(j) < D, p.gamma, C::start(j));
#pragma unroll
    for (int k = 0; k < C::kN; ++k) scale[j][k] = p.gamma ? given.v[k] : 1.0f;
  }
  const float share = 1.0f / static_cast<float>(D);
  for (int64_t n = global_thread() / C::kLanes; n < p.N; n += p.teams) {
    const Part<C, T> up(p.dy, n, D), in(p.x, n, D), add(p.residual, n, D);
    const float m = p.mean[n], r = p.rstd[n];
    float sum_g = 0, sum_gx = 0;
#pragma unroll
    for (int j = 0; j < C::kPacks; ++j)
#pragma unroll
      for (int k = 0; k < C::kN; ++k) {
        const float u = widen(up.v[j].v[k]), c = widen(in.v[j].v[k]) - m, g = u * scale[j][k];
        sum_g += g;
        sum_gx += g * c;
        dgamma[j][k] += u * (c * r);
        dbeta[j][k] += u;
      }
    team_sums<C>(sum_g, sum_gx);
    const float mean_g = sum_g * share, slope = sum_gx * share * r * r;
#pragma unroll
    for (int j = 0; j < C::kPacks; ++j) {
      const int d = C::start(j);
      if (d >= D) continue;
      Pack<T, C::kN> out;
#pragma unroll
      for (int k = 0; k < C::kN; ++k) {
        const float g = widen(up.v[j].v[k]) * scale[j][k], c = widen(in.v[j].v[k]) - m;
        out.v[k] = narrow<T>(r * (g - mean_g - c * slope) + widen(add.v[j].v[k]));
      }
      store(p.dx + n * D + d, out);
    }
  }
  if (!p.partial) return;
  double* const sums = p.partial + int64_t{blockIdx.x} * 2 * D;
  write_partial<C>(dgamma, D, sums);
  write_partial<C>(dbeta, D, sums + D);
}

/// The same by blocks that read their rows twice and keep their sums in memory.
template <class T>
__global__ void long_backward_kernel(Backward<T> p) {
  double* const sums = p.partial ? p.partial + int64_t{blockIdx.x} * 2 * p.D : nullptr;
  for (int64_t n = blockIdx.x; n < p.N; n += p.teams) {
    const T *up = p.dy + n * p.D, *in = p.x + n * p.D;
    const float m = p.mean[n], r = p.rstd[n];
    float sum_g = 0, sum_gx = 0;
    for (int64_t d = threadIdx.x; d < p.D; d += kThreads) {
      const float u = widen(up[d]), c = widen(in[d]) - m, g = u * (p.gamma ? p.gamma[d] : 1.0f);
      sum_g += g;
      sum_gx += g * c;
      if (!sums) continue;
      const bool first = n == blockIdx.x;
      sums[d] = (first ? 0.0 : sums[d]) + static_cast<double>(u * (c * r));
      sums[p.D + d] = (first ? 0.0 : sums[p.D + d]) + static_cast<double>(u);
    }
    team_sums<Long>(sum_g, sum_gx);
    const float mean_g = sum_g / static_cast<float>(p.D), mean_gx = sum_gx * r / static_cast<float>(p.D);
    for (int64_t d = threadIdx.x; d < p.D; d += kThreads) {
      const float g = widen(up[d]) * (p.gamma ? p.gamma[d] : 1.0f);
      const float through = r * (g - mean_g - (widen(in[d]) - m) * r * mean_gx);
      p.dx[n * p.D + d] = narrow<T>(p.residual ? through + widen(p.residual[n * p.D + d]) : through);
    }
  }
}

void layer_norm_backward(const Tensor& dy, const Tensor& x, const Tensor& gamma, const Tensor& mean, const Tensor& rstd,
                         const Tensor& residual, Tensor& dx, Tensor& dgamma, Tensor& dbeta) {
  const char* where = "layer_norm_backward";
  const int64_t N = x.dim(0), D = x.dim(1);
  visit_device(x.dtype(), where, [&, N = N, D = D]<class T>(T) {
    Backward<T> p{N,
                  D,
                  0,
                  dy.data<T>(),
                  x.data<T>(),
                  floats(gamma),
                  mean.data<float>(),
                  rstd.data<float>(),
                  residual.defined() ? residual.data<T>() : nullptr,
                  dx.data<T>(),
                  nullptr};
    visit_cut(D, {p.dy, p.x, p.gamma, p.residual, p.dx}, [&]<class C>(C) {
      // As many blocks as are resident at once: each takes as many rows into its sums as it can.
      const int64_t blocks = std::min(ceil_div(N, C::kTeams), int64_t{multiprocessors()} * C::resident());
      p.teams = blocks * C::kTeams;
      const bool affine = dgamma.defined() || dbeta.defined();
      ColumnPlan plan(1, N, D);
      plan.chunks = blocks;
      Tensor partial = affine ? plan.partials(2) : Tensor();
      if (affine) p.partial = partial.template data<double>();
      if constexpr (std::is_same_v<C, Long>) {
        launch(where, long_backward_kernel<T>, blocks, C::kBlock, p);
      } else {
        launch(where, layer_norm_backward_kernel<C, T>, blocks, C::kBlock, p);
      }
      if (affine) column_totals<2>(where, plan, partial, {{floats(dgamma), floats(dbeta)}});
    });
  });
}

[[maybe_unused]] const bool registered = kernel::layer_norm_forward.define(Device::cuda, layer_norm_forward) &&
                                         kernel::layer_norm_backward.define(Device::cuda, layer_norm_backward);

}  // namespace
}  // namespace sked::cuda
