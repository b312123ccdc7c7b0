#pragma once
// Matrices changed in place, with the sums down their columns on the way: a thread has a pack of neighboring columns
// and goes down some rows, so that the sums cost an addition an element.

#include "cuda/columns.cuh"

namespace sked::cuda {

/// a (rows, C): a[r, c…] ← g with f(f.row(r), r, c, pack of a, g) for each pack of kN columns, and into partial
/// (chunks, C), unless null, the sums of g over the rows of a chunk. `plan` counts packs as columns; rows are whole
/// packs.
template <int kN, class T, class F>
__global__ void change_rows_kernel(ColumnPlan plan, F f, T* a, double* partial) {
  __shared__ float parts[kLines][kWarp * kN];
  const int64_t column_blocks = (plan.C + kWarp - 1) / kWarp, block = blockIdx.x, C = plan.C * kN;
  const int64_t chunk = block / column_blocks, first_column = block % column_blocks * kWarp * kN;
  const int lane = threadIdx.x % kWarp, line = threadIdx.x / kWarp;
  const int c = static_cast<int>(first_column) + lane * kN;
  const int64_t first = chunk * plan.chunk, last = c < C ? min(plan.rows, first + plan.chunk) : 0;
  float sum[kN] = {};
  for (int64_t r = first + line; r < last; r += kLines) {
    T* const at = a + r * C + c;
    const Pack<T, kN> in = load<kN>(at);
    Pack<T, kN> out;
    float g[kN];
    f(f.row(r), r, c, in, g);
#pragma unroll
    for (int j = 0; j < kN; ++j) {
      sum[j] += g[j];
      out.v[j] = narrow<T>(g[j]);
    }
    store(at, out);
  }
  if (!partial) return;
#pragma unroll
  for (int j = 0; j < kN; ++j) parts[line][lane * kN + j] = sum[j];
  __syncthreads();
  for (int j = threadIdx.x; j < kWarp * kN && first_column + j < C; j += kThreads) {
    double total = 0;
    for (int l = 0; l < kLines; ++l) total += parts[l][j];
    partial[chunk * C + first_column + j] = total;
  }
}

/// sums[c] ← the chunks' sums, added to what is there if asked; a warp a column.
static __global__ void chunk_totals_kernel(int64_t chunks, int64_t C, const double* partial, bool add, float* sums) {
  const int64_t c = global_thread() / kWarp;
  if (c >= C) return;
  double total = 0;
  for (int64_t chunk = threadIdx.x % kWarp; chunk < chunks; chunk += kWarp) total += partial[chunk * C + c];
  total = warp_reduce(total, Plus{});
  if (threadIdx.x % kWarp == 0) sums[c] = static_cast<float>(total) + (add ? sums[c] : 0.0f);
}

/// Changes a (rows, C) by f, and adds to or sets sums (C), unless null, to the sums down the columns. kN elements a
/// load: rows are whole packs.
template <int kN, class T, class F>
void change_rows(const char* where, int64_t rows, int64_t C, F f, T* a, bool add, float* sums) {
  require(C <= std::numeric_limits<int32_t>::max(), where, "expected fewer than 2^31 columns, got ", C);
  const ColumnPlan plan(1, rows, C / kN);
  const auto change = [&](double* partial) {
    launch(where, change_rows_kernel<kN, T, F>, rows > 0 ? plan.blocks() : 0, kThreads, plan, f, a, partial);
  };
  if (!sums) return change(nullptr);
  Tensor partial = Tensor::empty({plan.chunks, C}, DType::f64, Device::cuda);
  change(partial.data<double>());
  launch(where, chunk_totals_kernel, ceil_div(C, kLines), kThreads, rows > 0 ? plan.chunks : 0, C,
         partial.data<double>(), add, sums);
}

}  // namespace sked::cuda
