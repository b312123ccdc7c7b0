#pragma once
// Tiles of sampled logits (core/kernels/likelihood.h): where they lie, what may lie beside them, and the walk that
// turns one into its gradient.

#include <limits>

#include "core/kernels/likelihood.h"
#include "cuda/columns.cuh"

namespace sked::cuda {

/// A tile (B,C,K), and where it lies: (b,s) in rows of S samples, (b,k) in rows of `classes` or coordinates.
struct Extents {
  int64_t B, C, K;
  int64_t S = 0, classes = 0;
  TileOrigin at;

  Extents(const Tensor& a, const char* where, TileOrigin at = {}) : at(at) {
    require(a.defined() && a.ndim() == 3, where, "expected a tile (B, C, K), got ", a);
    B = a.dim(0), C = a.dim(1), K = a.dim(2);
    constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
    require(rows() <= kMost && K <= kMost, where, "expected fewer than 2^31 rows and columns, got ", a);
  }
  constexpr int64_t rows() const { return B * C; }
  constexpr int64_t columns() const { return B * K; }

  /// Row r of the tile is (b,s). In 32 bits, since a 64-bit division costs some forty instructions.
  __device__ uint32_t example(int64_t row) const { return static_cast<uint32_t>(row) / static_cast<uint32_t>(C); }
  __device__ uint32_t sample(int64_t row) const { return static_cast<uint32_t>(row) % static_cast<uint32_t>(C); }
  /// Its place among all samples.
  __device__ int64_t by_sample(int64_t row) const { return example(row) * S + at.sample + sample(row); }
  /// Where the classes of row r start among all classes.
  __device__ int64_t by_class(int64_t row) const { return example(row) * classes + at.klass; }
};

/// Throws unless t is f32 beside a tile.
inline void check_beside(const Tensor& t, const Tensor& a, const char* where) {
  require_master(a, t, where);
  require(t.dtype() == DType::f32, where, "expected f32 beside a tile, got ", t);
}

/// Throws unless t is (B, at least `least`) beside `a`; returns its width.
inline int64_t check_width(const Tensor& t, const Tensor& a, int64_t least, const char* what, const char* where) {
  require(t.defined() && t.ndim() == 2 && t.dim(0) == a.dim(0) && t.dim(1) >= least, where, "expected ", what, " (",
          a.dim(0), ", ", least, " or more), got ", t);
  check_beside(t, a, where);
  return t.dim(1);
}

inline void check_alike(const Tensor& t, const Tensor& like, const char* what, const char* where) {
  require_shape(t, like.shape(), where, what);
  require_alike(t, like, where);
}

inline const int64_t* labels_of(const Tensor& labels, const Tensor& a, const char* where) {
  require_shape(labels, {a.dim(0)}, where, "labels");
  require(labels.device() == a.device(), where, "expected labels on ", a.device(), ", got ", labels);
  return labels.data<int64_t>();
}

// ---- gradients of tiles ---------------------------------------------------------------------------------------------

/// a[r,k] ← f(what f.row(e, r) says of row r, k, a[r,k]), and into partial (chunks, K), unless null, its sums over the
/// rows of a chunk. A thread has kN neighbouring columns, rows being whole packs, and goes down the chunk: a warp reads
/// 32 packs of a row, and the sum costs an addition an element. `plan` counts packs as columns. 2 tiles moved; for
/// labels 25 instructions and half a load an element in bf16, 38 and 1 in f32 (32 and 1 before there were packs and
/// sums).
template <int kN, class T, class F>
__global__ void tile_backward_kernel(ColumnPlan plan, Extents e, F f, T* a, double* partial) {
  __shared__ float parts[kLines][kWarp * kN];
  const int64_t column_blocks = (plan.C + kWarp - 1) / kWarp, block = blockIdx.x;
  const int64_t chunk = block / column_blocks, first_column = block % column_blocks * kWarp * kN;
  const int lane = threadIdx.x % kWarp, line = threadIdx.x / kWarp;
  const int k = static_cast<int>(first_column) + lane * kN;
  const int64_t first = chunk * plan.chunk, last = k < e.K ? min(plan.rows, first + plan.chunk) : 0;
  float sum[kN] = {};
  for (int64_t r = first + line; r < last; r += kLines) {
    const auto row = f.row(e, r);
    T* const at = a + r * e.K + k;
    Pack<T, kN> pack = load<kN>(at);
#pragma unroll
    for (int j = 0; j < kN; ++j) {
      const float g = f.template operator()<T>(row, k + j, widen(pack.v[j]));
      sum[j] += g;
      pack.v[j] = narrow<T>(g);
    }
    store(at, pack);
  }
  if (!partial) return;
#pragma unroll
  for (int j = 0; j < kN; ++j) parts[line][lane * kN + j] = sum[j];
  __syncthreads();
  for (int c = threadIdx.x; c < kWarp * kN && first_column + c < e.K; c += kThreads) {
    double total = 0;
    for (int l = 0; l < kLines; ++l) total += parts[l][c];
    partial[chunk * e.K + first_column + c] = total;
  }
}

/// sums[k] += the chunks' sums, a warp a column.
static __global__ void add_sums_kernel(int64_t chunks, int64_t K, const double* partial, float* sums) {
  const int64_t k = global_thread() / kWarp;
  if (k >= K) return;
  double total = 0;
  for (int64_t chunk = threadIdx.x % kWarp; chunk < chunks; chunk += kWarp) total += partial[chunk * K + k];
  total = warp_reduce(total, Plus{});
  if (threadIdx.x % kWarp == 0) sums[k] += static_cast<float>(total);
}

/// Calls g(T{}, kN constant) with the tile's type and the pack that its rows are made of.
template <class G>
void visit_tile(const Tensor& a, const Extents& e, const char* where, G&& g) {
  visit_device(a.dtype(), where, [&]<class T>(T type) {
    if (e.K % kWide<T> == 0 && aligned16({a.raw()})) return g(type, std::integral_constant<int, kWide<T>>{});
    g(type, std::integral_constant<int, 1>{});
  });
}

/// Turns the tile into its gradient by f, and adds the sums over rows where they are wanted.
template <class F>
void tile_backward(const char* where, const Extents& e, F f, Tensor& a, Tensor& sums) {
  if (sums.defined()) {
    require(sums.ndim() == 1 && sums.dim(0) >= e.at.klass + e.K, where, "expected sums of ", e.at.klass + e.K,
            " or more classes, got ", sums);
    check_beside(sums, a, where);
  }
  if (a.numel() == 0) return;
  visit_tile(a, e, where, [&]<class T, int kN>(T, std::integral_constant<int, kN>) {
    const ColumnPlan plan(1, e.rows(), e.K / kN);
    const auto differentiate = [&](double* partial) {
      launch(where, tile_backward_kernel<kN, T, F>, plan.blocks(), kThreads, plan, e, f, a.data<T>(), partial);
    };
    if (!sums.defined()) return differentiate(nullptr);
    Tensor partial = Tensor::empty({plan.chunks, e.K}, DType::f64, Device::cuda);
    differentiate(partial.data<double>());
    launch(where, add_sums_kernel, ceil_div(e.K, kLines), kThreads, plan.chunks, e.K, partial.data<double>(),
           sums.data<float>() + e.at.klass);
  });
}

}  // namespace sked::cuda
