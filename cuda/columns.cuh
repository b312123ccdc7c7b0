#pragma once
// Sums down the columns of matrices, several at once and always in the same order: what gradients of biases, scales and
// shifts and the statistics of batch and group norm are made of.
//
// A first kernel cuts the rows into chunks, as the shape alone says, and writes each chunk's sums (in f32 over a few
// hundred rows a thread, in f64 from there); what follows adds the chunks, a warp for each result.

#include <algorithm>

#include "cuda/launch.cuh"

namespace sked::cuda {

/// `outer` matrices of `rows` rows and C columns, cut into `chunks` of `chunk` rows.
struct ColumnPlan {
  int64_t outer, rows, C, chunk, chunks;

  ColumnPlan(int64_t outer, int64_t rows, int64_t C) : outer(outer), rows(rows), C(C) {
    constexpr int64_t kBlocks = 1024, kFewest = 64;  // enough blocks for every card; rows worth a block
    const int64_t wanted = std::max<int64_t>(1, kBlocks / std::max<int64_t>(1, outer * ceil_div(C, kWarp)));
    chunk = std::max<int64_t>(1, std::max(std::min(rows, kFewest), ceil_div(rows, wanted)));
    chunks = std::max<int64_t>(1, ceil_div(rows, chunk));
  }
  int64_t blocks() const { return outer * chunks * ceil_div(C, kWarp); }
  /// The chunks' sums, K for each column: (outer, chunks, K, C) f64.
  Tensor partials(int64_t K) const { return Tensor::empty({outer, chunks, K, C}, DType::f64, Device::cuda); }
};

template <int K>
struct Sums {
  float v[K];
};

constexpr int kLines = kThreads / kWarp;

/// partial[o,chunk,k,c] = Σ over the chunk's rows r of f(o, r, c).v[k]. One warp reads 32 neighboring columns of a
/// row.
template <int K, class F>
__global__ void column_sums_kernel(ColumnPlan plan, F f, double* partial) {
  __shared__ double parts[kLines][K][kWarp];
  const int64_t column_blocks = (plan.C + kWarp - 1) / kWarp, block = blockIdx.x;
  const int lane = threadIdx.x % kWarp, line = threadIdx.x / kWarp;
  const int64_t c = block % column_blocks * kWarp + lane, task = block / column_blocks;
  const int64_t chunk = task % plan.chunks, o = task / plan.chunks;
  const int64_t first = chunk * plan.chunk, last = min(plan.rows, first + plan.chunk);
  float sum[K] = {};
  if (c < plan.C) {
#pragma unroll 4
    for (int64_t r = first + line; r < last; r += kLines) {
      const Sums<K> terms = f(o, r, c);
#pragma unroll
      for (int k = 0; k < K; ++k) sum[k] += terms.v[k];
    }
  }
#pragma unroll
  for (int k = 0; k < K; ++k) parts[line][k][lane] = sum[k];
  __syncthreads();
  if (line > 0 || c >= plan.C) return;
#pragma unroll
  for (int k = 0; k < K; ++k) {
    double total = 0;
    for (int l = 0; l < kLines; ++l) total += parts[l][k][lane];
    partial[(task * K + k) * plan.C + c] = total;
  }
}

/// Fills `partial` (from plan.partials(K)).
template <int K, class F>
void column_sums(const char* where, const ColumnPlan& plan, F f, Tensor& partial) {
  launch(where, column_sums_kernel<K, F>, plan.blocks(), kThreads, plan, f, partial.data<double>());
}

/// A warp's total over the chunks of sum k of column c of matrix o.
__device__ inline double total_of(const ColumnPlan& plan, const double* partial, int K, int k, int64_t o, int64_t c) {
  double sum = 0;
#pragma unroll 4
  for (int64_t chunk = threadIdx.x % kWarp; chunk < plan.chunks; chunk += kWarp)
    sum += partial[((o * plan.chunks + chunk) * K + k) * plan.C + c];
  return warp_reduce(sum, Plus{});
}

/// out[k][c] = the totals, one warp each; a null out is skipped.
template <int K>
struct Outputs {
  float* v[K];
};
template <int K>
__global__ void column_totals_kernel(ColumnPlan plan, const double* partial, Outputs<K> out) {
  const int64_t task = global_thread() / kWarp, c = task % plan.C;
#pragma unroll
  for (int k = 0; k < K; ++k) {
    if (task / plan.C != k || !out.v[k]) continue;
    const double total = total_of(plan, partial, K, k, 0, c);
    if (threadIdx.x % kWarp == 0) out.v[k][c] = static_cast<float>(total);
  }
}
template <int K>
void column_totals(const char* where, const ColumnPlan& plan, const Tensor& partial, Outputs<K> out) {
  launch(where, column_totals_kernel<K>, ceil_div(K * plan.C, kLines), kThreads, plan, partial.data<double>(), out);
}

/// out.v[k] (C) = Σ_r f(0, r, c).v[k] over the rows of one matrix. Reads what f reads once.
template <int K, class F>
void sum_columns(const char* where, int64_t rows, int64_t C, F f, Outputs<K> out) {
  const ColumnPlan plan(1, rows, C);
  Tensor partial = plan.partials(K);
  column_sums<K>(where, plan, f, partial);
  column_totals<K>(where, plan, partial, out);
}

/// The term of a plain sum.
template <class T>
struct Element {
  const T* x;
  int64_t C;
  __device__ Sums<1> operator()(int64_t, int64_t r, int64_t c) const { return {{widen(x[r * C + c])}}; }
};

}  // namespace sked::cuda
