#pragma once
// What kernels share: launching, 16-byte packs, sums over warps and blocks.
//
// Kernels compute in float and store T, which is float or bf16. Sizes are 64-bit on the host; a grid is cut so that it
// fits CUDA's limits, and problems without elements launch nothing.

#include <bit>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <type_traits>

#include "core/dtype.h"
#include "core/tensor.h"
#include "cuda/recording.h"
#include "cuda/runtime.h"

namespace sked::cuda {

constexpr int kWarp = 32;
constexpr int kThreads = 256;  // a block's, unless it says otherwise

constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// Runs `kernel` on `blocks` blocks of `threads` threads, after everything launched before; nothing for no blocks.
/// Throws naming the operation where it cannot be launched.
template <class... Parameters, class... Args>
void launch(const char* where, void (*kernel)(Parameters...), int64_t blocks, int threads, Args&&... args) {
  if (blocks == 0) return;
  require(blocks > 0 && blocks <= std::numeric_limits<int32_t>::max(), where, "expected at most 2^31 − 1 blocks, got ",
          blocks);
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(blocks));
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.stream = compute_stream().get();
  count_launch(where);
  const cudaError_t status = cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(args)...);
  require(status == cudaSuccess, where, "cannot launch ", blocks, " blocks of ", threads,
          " threads: ", cudaGetErrorString(status));
}

/// Calls f(T{}) with the type of the dtype: float or bf16. Throws for any other.
template <class F>
void visit_device(DType dtype, const char* where, F&& f) {
  if (dtype == DType::bf16) return f(bf16{});
  require(dtype == DType::f32, where, "expected f32 or bf16 on cuda, got ", dtype);
  f(float{});
}

template <class T>
__device__ float widen(T x) {
  return static_cast<float>(x);
}

/// x as T: what static_cast gives, NaN's bits aside, by the card's own rounding: 1 instruction instead of 8 for bf16.
template <class T>
__device__ T narrow(float x) {
#ifdef __CUDA_ARCH__
  if constexpr (std::is_same_v<T, bf16>) {
    bf16 rounded;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(rounded.bits) : "f"(x));
    return rounded;
  }
#endif
  return static_cast<T>(x);
}

/// N elements that move as one load or store.
template <class T, int N>
struct alignas(sizeof(T) * N) Pack {
  T v[N];
};

/// Elements of T in 16 bytes.
template <class T>
constexpr int kWide = 16 / static_cast<int>(sizeof(T));

template <int N, class T>
__device__ Pack<T, N> load(const T* from) {
  return *reinterpret_cast<const Pack<T, N>*>(from);
}
/// from[at …], or zeros unless `wanted`. By words: those cost one register and instruction where two bf16 cost two.
template <int N, class T>
__device__ Pack<T, N> load_if(bool wanted, const T* from, int64_t at) {
  using Word = std::conditional_t<sizeof(T) * N % 4 == 0, uint32_t, uint16_t>;
  using Words = Pack<Word, static_cast<int>(sizeof(T)) * N / static_cast<int>(sizeof(Word))>;
  return std::bit_cast<Pack<T, N>>(wanted ? *reinterpret_cast<const Words*>(from + at) : Words{});
}
template <int N, class T>
__device__ void store(T* to, const Pack<T, N>& pack) {
  *reinterpret_cast<Pack<T, N>*>(to) = pack;
}

/// N parameters beside a pack of N elements.
template <int N>
struct Floats {
  float v[N];
};
/// At most 16 bytes a load: `from` need not be aligned for more.
template <int N>
__device__ Floats<N> load_floats(const float* from) {
  constexpr int kPart = N < 4 ? N : 4;
  Floats<N> all;
#pragma unroll
  for (int i = 0; i < N; i += kPart) {
    const Pack<float, kPart> part = load<kPart>(from + i);
#pragma unroll
    for (int k = 0; k < kPart; ++k) all.v[i + k] = part.v[k];
  }
  return all;
}

/// May all of these be read and written 16 bytes at a time from their first element on?
inline bool aligned16(std::initializer_list<const void*> pointers) {
  for (const void* p : pointers)
    if (reinterpret_cast<uintptr_t>(p) % 16 != 0) return false;
  return true;
}

/// This thread's number in the grid.
__device__ inline int64_t global_thread() { return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; }

// ---- fixed-order reductions: the same result on every run ----------------------------------------

struct Plus {
  template <class V>
  __device__ V operator()(V a, V b) const {
    return a + b;
  }
};
/// NaN wins.
struct Larger {
  __device__ float operator()(float a, float b) const { return a >= b || a != a ? a : b; }
};

/// Every lane gets the warp's result, combined as a butterfly.
template <class V, class Op>
__device__ V warp_reduce(V value, Op op) {
  for (int offset = kWarp / 2; offset > 0; offset /= 2) value = op(value, __shfl_xor_sync(0xffffffffu, value, offset));
  return value;
}

/// Every thread gets the block's result. blockDim.x is a multiple of 32, at most 1024; all threads take part.
template <class V, class Op>
__device__ V block_reduce(V value, Op op, V neutral) {
  __shared__ V parts[kWarp];
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp, warps = blockDim.x / kWarp;
  value = warp_reduce(value, op);
  if (lane == 0) parts[warp] = value;
  __syncthreads();
  value = warp_reduce(lane < warps ? parts[lane] : neutral, op);
  __syncthreads();  // parts may be written again
  return value;
}

__device__ inline void report(const FaultSite& site, int64_t row, int64_t value, int64_t limit) {
  if (atomicCAS(&site.fault->taken, 0u, 1u) != 0u) return;
  site.fault->where = site.where;
  site.fault->row = row;
  site.fault->value = value;
  site.fault->limit = limit;
}

/// Is `value` an index below `limit`? Reports it where it is not.
__device__ inline bool is_index(int64_t value, int64_t limit, int64_t row, const FaultSite& site) {
  if (value >= 0 && value < limit) return true;
  report(site, row, value, limit);
  return false;
}

}  // namespace sked::cuda
