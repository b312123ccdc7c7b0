// Attention as its formulas say, without the T×T matrix in memory: keys and values pass by in tiles of 32 through
// shared memory, a warp works on one query (or, for the keys' gradients, on one key) and keeps its sums in registers.
//
// Operations: 4 N H T² E forward, 10 backward (two products are made again); bytes: each block reads the K and V (or Q
// and dy) of its head once, from the second-level cache after the first. Floor: the operations at the card's f32 rate;
// the shared-memory reads, one for each multiply-add, keep this kernel at a fraction of it. In bf16 the tuned versions
// leave it to cuDNN, which has tensor cores do the products and takes no f32.

#include "core/kernels/attention.h"

#include <cmath>

#include "core/math.h"
#include "cuda/cudnn.h"
#include "cuda/launch.cuh"

namespace sked::cuda {
namespace {

constexpr int kTile = kWarp;                // keys at a time: one for each lane's score
constexpr int kQueries = kThreads / kWarp;  // one for each warp
constexpr int kWidest = 128;                // E

struct Problem {
  int64_t N, T, H, E;
  float scale;
  bool causal;

  int64_t heads() const { return N * H; }
  /// Blocks of kQueries tokens of every head.
  int64_t blocks() const { return heads() * ceil_div(T, kQueries); }
};

/// Which head and token a warp works on.
struct Place {
  int64_t n, h, first, t;  // first: the block's first token

  __device__ explicit Place(const Problem& p) {
    const int64_t per_head = (p.T + kQueries - 1) / kQueries, head = blockIdx.x / per_head;
    n = head / p.H;
    h = head - n * p.H;
    first = (blockIdx.x - head * per_head) * kQueries;
    t = first + threadIdx.x / kWarp;
  }
  /// Token `token` of part 0 (q), 1 (k) or 2 (v) in (N,T,3,H,E).
  __device__ int64_t packed(const Problem& p, int64_t token, int part) const {
    return ((n * p.T + token) * 3 + part) * p.H * p.E + h * p.E;
  }
  /// A token in (N,T,H,E).
  __device__ int64_t plain(const Problem& p, int64_t token) const { return ((n * p.T + token) * p.H + h) * p.E; }
  /// A token in (N,H,T).
  __device__ int64_t saved(const Problem& p, int64_t token) const { return (n * p.H + h) * p.T + token; }
};

/// Rows of a tile, at an odd pitch so that the lanes' rows start in different banks.
template <int kE>
using Tile = float[kTile][kE + 1];

/// tile[j] = the E numbers of token first + j, as `at(token)` finds them; zeros beyond the last token and beyond E.
template <int kE, class T, class At>
__device__ void load_tile(Tile<kE>& tile, const Problem& p, int64_t first, const T* x, At at) {
  for (int i = threadIdx.x; i < kTile * kE; i += kThreads) {
    const int j = i / kE, e = i % kE;
    tile[j][e] = first + j < p.T && e < p.E ? widen(x[at(first + j) + e]) : 0.0f;
  }
}

/// Row `lane` of a tile times a vector that lies spread over the warp, element e in lane e mod 32.
template <int kE>
__device__ float dot(const Tile<kE>& tile, const float (&spread)[kE / kWarp]) {
  const int lane = threadIdx.x % kWarp;
  float sum = 0;
#pragma unroll
  for (int part = 0; part < kE / kWarp; ++part) {
    for (int e = 0; e < kWarp; ++e) sum += tile[lane][part * kWarp + e] * __shfl_sync(0xffffffffu, spread[part], e);
  }
  return sum;
}

/// sum += Σ_j weight of lane j · row j of the tile, spread over the warp.
template <int kE>
__device__ void add_rows(const Tile<kE>& tile, float weight, float (&sum)[kE / kWarp]) {
  const int lane = threadIdx.x % kWarp;
  for (int j = 0; j < kTile; ++j) {
    const float w = __shfl_sync(0xffffffffu, weight, j);
#pragma unroll
    for (int part = 0; part < kE / kWarp; ++part) sum[part] += w * tile[j][part * kWarp + lane];
  }
}

/// Spreads E numbers over the warp; zeros where there is no such token.
template <int kE, class T>
__device__ void spread_row(const Problem& p, const T* x, bool exists, float (&spread)[kE / kWarp]) {
#pragma unroll
  for (int part = 0; part < kE / kWarp; ++part) {
    const int e = part * kWarp + threadIdx.x % kWarp;
    spread[part] = exists && e < p.E ? widen(x[e]) : 0.0f;
  }
}

template <int kE, class T>
__device__ void write_row(const Problem& p, const float (&spread)[kE / kWarp], float factor, T* y) {
#pragma unroll
  for (int part = 0; part < kE / kWarp; ++part) {
    const int e = part * kWarp + threadIdx.x % kWarp;
    if (e < p.E) y[e] = narrow<T>(spread[part] * factor);
  }
}

/// Softmax as it goes (Milakov & Gimelshein, arXiv 1805.02867): when a tile raises the maximum, what is summed so far
/// shrinks by the exponential of the difference.
template <int kE, class T>
__global__ void attention_forward_kernel(Problem p, const T* qkv, T* y, float* lse) {
  __shared__ Tile<kE> keys, values;
  const Place at(p);
  const bool exists = at.t < p.T;
  float q[kE / kWarp], out[kE / kWarp] = {}, max = -INFINITY, sum = 0;
  spread_row<kE>(p, qkv + (exists ? at.packed(p, at.t, 0) : 0), exists, q);
  const int64_t beyond = p.causal ? min(p.T, at.first + kQueries) : p.T;  // no key of the block lies here or later
  for (int64_t first = 0; first < beyond; first += kTile) {
    __syncthreads();
    load_tile<kE>(keys, p, first, qkv, [&](int64_t token) { return at.packed(p, token, 1); });
    load_tile<kE>(values, p, first, qkv, [&](int64_t token) { return at.packed(p, token, 2); });
    __syncthreads();
    const int64_t key = first + threadIdx.x % kWarp;
    const bool counts = key < p.T && (!p.causal || key <= at.t);
    const float product = dot<kE>(keys, q), score = counts ? p.scale * product : -INFINITY;
    const float higher = Larger{}(max, warp_reduce(score, Larger{}));  // NaN wins, so that it is seen
    if (higher == -INFINITY) continue;                                 // a tile wholly behind the causal mask
    const float shrink = math::exp(max - higher), weight = counts ? math::exp(score - higher) : 0.0f;
    sum = sum * shrink + warp_reduce(weight, Plus{});
#pragma unroll
    for (float& o : out) o *= shrink;
    add_rows<kE>(values, weight, out);
    max = higher;
  }
  if (!exists) return;
  write_row<kE>(p, out, 1.0f / sum, y + at.plain(p, at.t));
  if (threadIdx.x % kWarp == 0) lse[at.saved(p, at.t)] = max + math::log(sum);
}

/// correction (N,H,T) = Σ_e dy y, one warp a token.
template <class T>
__global__ void correction_kernel(Problem p, const T* dy, const T* y, float* correction) {
  const Place at(p);
  if (at.t >= p.T) return;
  float sum = 0;
  for (int64_t e = threadIdx.x % kWarp; e < p.E; e += kWarp)
    sum += widen(dy[at.plain(p, at.t) + e]) * widen(y[at.plain(p, at.t) + e]);
  sum = warp_reduce(sum, Plus{});
  if (threadIdx.x % kWarp == 0) correction[at.saved(p, at.t)] = sum;
}

/// dq of one query a warp: P = exp(scale q k − lse), dS = P (dy v − correction), dq = scale Σ_j dS k_j.
template <int kE, class T>
__global__ void query_gradient_kernel(Problem p, const T* dy, const T* qkv, const float* lse, const float* correction,
                                      T* dqkv) {
  __shared__ Tile<kE> keys, values;
  const Place at(p);
  const bool exists = at.t < p.T;
  float q[kE / kWarp], g[kE / kWarp], dq[kE / kWarp] = {};
  spread_row<kE>(p, qkv + (exists ? at.packed(p, at.t, 0) : 0), exists, q);
  spread_row<kE>(p, dy + (exists ? at.plain(p, at.t) : 0), exists, g);
  const float l = exists ? lse[at.saved(p, at.t)] : 0.0f, delta = exists ? correction[at.saved(p, at.t)] : 0.0f;
  const int64_t beyond = p.causal ? min(p.T, at.first + kQueries) : p.T;
  for (int64_t first = 0; first < beyond; first += kTile) {
    __syncthreads();
    load_tile<kE>(keys, p, first, qkv, [&](int64_t token) { return at.packed(p, token, 1); });
    load_tile<kE>(values, p, first, qkv, [&](int64_t token) { return at.packed(p, token, 2); });
    __syncthreads();
    const int64_t key = first + threadIdx.x % kWarp;
    const bool counts = exists && key < p.T && (!p.causal || key <= at.t);
    const float score = p.scale * dot<kE>(keys, q), dp = dot<kE>(values, g);
    const float ds = counts ? math::exp(score - l) * (dp - delta) : 0.0f;
    add_rows<kE>(keys, ds, dq);
  }
  if (exists) write_row<kE>(p, dq, p.scale, dqkv + at.packed(p, at.t, 0));
}

/// dk and dv of one key a warp, the queries passing by: dk = scale Σ_t dS q_t, dv = Σ_t P dy_t.
template <int kE, class T>
__global__ void key_gradient_kernel(Problem p, const T* dy, const T* qkv, const float* lse, const float* correction,
                                    T* dqkv) {
  __shared__ Tile<kE> queries, upstream;
  const Place at(p);
  const bool exists = at.t < p.T;
  float k[kE / kWarp], v[kE / kWarp], dk[kE / kWarp] = {}, dv[kE / kWarp] = {};
  spread_row<kE>(p, qkv + (exists ? at.packed(p, at.t, 1) : 0), exists, k);
  spread_row<kE>(p, qkv + (exists ? at.packed(p, at.t, 2) : 0), exists, v);
  const int64_t begin = p.causal ? at.first / kTile * kTile : 0;  // no earlier query sees the block's keys
  for (int64_t first = begin; first < p.T; first += kTile) {
    __syncthreads();
    load_tile<kE>(queries, p, first, qkv, [&](int64_t token) { return at.packed(p, token, 0); });
    load_tile<kE>(upstream, p, first, dy, [&](int64_t token) { return at.plain(p, token); });
    __syncthreads();
    const int64_t query = first + threadIdx.x % kWarp;
    const bool counts = exists && query < p.T && (!p.causal || at.t <= query);
    const float score = p.scale * dot<kE>(queries, k), dp = dot<kE>(upstream, v);
    const float weight = counts ? math::exp(score - lse[at.saved(p, query)]) : 0.0f;
    const float ds = counts ? weight * (dp - correction[at.saved(p, query)]) : 0.0f;
    add_rows<kE>(queries, ds, dk);
    add_rows<kE>(upstream, weight, dv);
  }
  if (!exists) return;
  write_row<kE>(p, dk, p.scale, dqkv + at.packed(p, at.t, 1));
  write_row<kE>(p, dv, 1.0f, dqkv + at.packed(p, at.t, 2));
}

/// Calls f(width constant) with the narrowest tile that holds E.
template <class F>
void visit_width(int64_t E, const char* where, F&& f) {
  require(E <= kWidest, where, "expected heads of at most ", kWidest, " numbers on cuda, got ", E);
  if (E <= 32) return f(std::integral_constant<int, 32>{});
  if (E <= 64) return f(std::integral_constant<int, 64>{});
  f(std::integral_constant<int, kWidest>{});
}

Problem problem_of(const AttentionSizes& s, double scale, bool causal) {
  return {s.N, s.T, s.H, s.E, static_cast<float>(scale), causal};
}

void attention_forward(const Tensor& qkv, Tensor& y, Tensor& lse, double scale, bool causal) {
  const char* where = "attention_forward";
  const Problem p = problem_of(attention_sizes(qkv), scale, causal);
  if (p.N * p.H * p.T == 0) return;
  visit_device(qkv.dtype(), where, [&]<class T>(T) {
    visit_width(p.E, where, [&]<int kE>(std::integral_constant<int, kE>) {
      launch(where, attention_forward_kernel<kE, T>, p.blocks(), kThreads, p, qkv.data<T>(), y.data<T>(),
             lse.data<float>());
    });
  });
}

void attention_backward(const Tensor& dy, const Tensor& qkv, const Tensor& y, const Tensor& lse, Tensor& dqkv,
                        double scale, bool causal) {
  const char* where = "attention_backward";
  const Problem p = problem_of(attention_sizes(qkv), scale, causal);
  if (p.N * p.H * p.T == 0) return;
  Tensor corrections = Tensor::empty(lse.shape(), DType::f32, Device::cuda);
  visit_device(qkv.dtype(), where, [&]<class T>(T) {
    const T *g = dy.data<T>(), *in = qkv.data<T>();
    T* out = dqkv.data<T>();
    const float *l = lse.data<float>(), *c = corrections.data<float>();
    launch(where, correction_kernel<T>, p.blocks(), kThreads, p, g, y.data<T>(), corrections.data<float>());
    visit_width(p.E, where, [&]<int kE>(std::integral_constant<int, kE>) {
      launch(where, query_gradient_kernel<kE, T>, p.blocks(), kThreads, p, g, in, l, c, out);
      launch(where, key_gradient_kernel<kE, T>, p.blocks(), kThreads, p, g, in, l, c, out);
    });
  });
}

/// Does cuDNN take such a problem? One token alone is its only softmax.
bool for_cudnn(const Tensor& qkv, const AttentionSizes& s) {
  return qkv.dtype() == DType::bf16 && s.E % 8 == 0 && s.E <= kWidest && s.T > 1 && s.N > 0 && s.H > 0;
}

void attention_forward_tuned(const Tensor& qkv, Tensor& y, Tensor& lse, double scale, bool causal) {
  const AttentionSizes s = attention_sizes(qkv);
  if (for_cudnn(qkv, s) && cudnn::run_forward({cudnn::Pass::forward, s, static_cast<float>(scale), causal}, qkv.raw(),
                                              y.raw(), lse.data<float>()))
    return;
  attention_forward(qkv, y, lse, scale, causal);
}

void attention_backward_tuned(const Tensor& dy, const Tensor& qkv, const Tensor& y, const Tensor& lse, Tensor& dqkv,
                              double scale, bool causal) {
  const AttentionSizes s = attention_sizes(qkv);
  if (for_cudnn(qkv, s) && cudnn::run_backward({cudnn::Pass::backward_input, s, static_cast<float>(scale), causal},
                                               dy.raw(), qkv.raw(), y.raw(), lse.data<float>(), dqkv.raw()))
    return;
  attention_backward(dy, qkv, y, lse, dqkv, scale, causal);
}

[[maybe_unused]] const bool registered = kernel::attention_forward.define(Device::cuda, attention_forward) &&
                                         kernel::attention_forward.tune(Device::cuda, attention_forward_tuned) &&
                                         kernel::attention_backward.define(Device::cuda, attention_backward) &&
                                         kernel::attention_backward.tune(Device::cuda, attention_backward_tuned);

}  // namespace
}  // namespace sked::cuda
