#pragma once
// Tiles of sampled logits (core/kernels/likelihood.h): where they lie, what may lie beside them, and the iteration that
// turns one into its gradient.

#include <limits>

#include "core/kernels/likelihood.h"
#include "cuda/packed_columns.cuh"

namespace sked::cuda {

/// A tile (B,C,K), and where it lies: (b,s) in rows of S samples, (b,k) in rows of `classes` or coordinates.
struct Extents {
  int64_t B, C, K;
  int64_t S = 0, classes = 0;
  TileOrigin at;

  Extents(const Tensor& a, const char* where, TileOrigin at = {}) : at(at) {
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
  __device__ int64_t by_class(int64_t row) const { return example(row) * classes + at.class_index; }
};

// ---- gradients of tiles --------------------------------------------------------------------------

/// F's gradients of a tile's elements, by f(f.row(extents, r), k, a[r,k]), pack by pack. 2 tiles moved; for labels 16
/// instructions and half a load an element in bf16, 38 and 1 in f32 (32 and 1 before there were packs and sums).
template <class F>
struct TileGradient {
  Extents e;
  F f;

  __device__ auto row(int64_t r) const { return f.row(e, r); }
  template <class Row, class T, int kN>
  __device__ void operator()(const Row& row, int64_t, int k, const Pack<T, kN>& a, float (&g)[kN]) const {
#pragma unroll
    for (int j = 0; j < kN; ++j) g[j] = f.template operator()<T>(row, k + j, widen(a.v[j]));
  }
};

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
  if (a.numel() == 0) return;
  visit_tile(a, e, where, [&]<class T, int kN>(T, std::integral_constant<int, kN>) {
    float* const to = sums.defined() ? sums.data<float>() + e.at.class_index : nullptr;
    change_rows<kN>(where, e.rows(), e.K, TileGradient<F>{e, f}, a.data<T>(), true, to);
  });
}

}  // namespace sked::cuda
