#include "cuda/gemm.h"

#include <iostream>

#include "cuda/launch.cuh"

namespace sked::cuda {
namespace {

constexpr int kTile = 64, kDepth = 16, kEach = 4;  // of c; of Q at a time; results a thread along each axis
constexpr int kSide = kTile / kEach;               // threads along each axis: 16 · 16 = kThreads

/// An operand as its rows and columns after op().
template <class T>
struct View {
  const T* data;
  int64_t row, col;  // strides
  int64_t batch;
};

/// One block a 64×64 tile of c: 16 columns of a and rows of b at a time in shared memory, 4×4 results a thread in
/// registers, so that each number loaded from shared memory is used four times.
template <class In, class Out>
__global__ void gemm_kernel(int64_t M, int64_t N, int64_t Q, View<In> a, View<In> b, Out* c, int64_t ldc,
                            int64_t c_batch, bool accumulate) {
  __shared__ float left[kDepth][kTile + 1], right[kDepth][kTile + 1];
  const int64_t tiles_m = (M + kTile - 1) / kTile, tiles_n = (N + kTile - 1) / kTile, block = blockIdx.x;
  const int64_t m0 = block / tiles_n % tiles_m * kTile, n0 = block % tiles_n * kTile, which = block / tiles_n / tiles_m;
  const In *pa = a.data + which * a.batch, *pb = b.data + which * b.batch;
  const int tx = threadIdx.x % kSide, ty = threadIdx.x / kSide;
  float sum[kEach][kEach] = {};
  for (int64_t q0 = 0; q0 < Q; q0 += kDepth) {
    for (int i = threadIdx.x; i < kDepth * kTile; i += kThreads) {
      const int q = i / kTile, r = i % kTile;
      const bool inside = q0 + q < Q;
      left[q][r] = inside && m0 + r < M ? widen(pa[(m0 + r) * a.row + (q0 + q) * a.col]) : 0.0f;
      right[q][r] = inside && n0 + r < N ? widen(pb[(q0 + q) * b.row + (n0 + r) * b.col]) : 0.0f;
    }
    __syncthreads();
    for (int q = 0; q < kDepth; ++q) {
#pragma unroll
      for (int i = 0; i < kEach; ++i)
#pragma unroll
        for (int j = 0; j < kEach; ++j) sum[i][j] += left[q][ty + i * kSide] * right[q][tx + j * kSide];
    }
    __syncthreads();
  }
  Out* to = c + which * c_batch;
  for (int i = 0; i < kEach; ++i) {
    for (int j = 0; j < kEach; ++j) {
      const int64_t m = m0 + ty + i * kSide, n = n0 + tx + j * kSide;
      if (m >= M || n >= N) continue;
      Out& result = to[m * ldc + n];
      result = narrow<Out>(accumulate ? widen(result) + sum[i][j] : sum[i][j]);
    }
  }
}

template <class In, class Out>
void run(const Gemm& g, const char* where) {
  const int64_t blocks = g.batch * ceil_div(g.M, kTile) * ceil_div(g.N, kTile);
  const auto view = [](const void* data, int64_t ld, bool transposed, int64_t batch) {
    return View<In>{static_cast<const In*>(data), transposed ? 1 : ld, transposed ? ld : 1, batch};
  };
  launch(where, gemm_kernel<In, Out>, blocks, kThreads, g.M, g.N, g.Q, view(g.a, g.lda, g.transpose_a, g.stride_a),
         view(g.b, g.ldb, g.transpose_b, g.stride_b), static_cast<Out*>(g.c), g.ldc, g.stride_c, g.accumulate);
}

}  // namespace

void gemm_definition(const Gemm& g, const char* where) {
  if (g.in == DType::f32) return run<float, float>(g, where);
  if (g.out == DType::f32) return run<bf16, float>(g, where);
  run<bf16, bf16>(g, where);
}

void gemm(const Gemm& g, const char* where) {
  if (gemm_tuned(g, where)) return;
  static bool said = false;
  if (!said) std::cerr << "note: cuBLASLt has no algorithm for a product of " << where << ": a slower kernel does it\n";
  said = true;
  gemm_definition(g, where);
}

}  // namespace sked::cuda
