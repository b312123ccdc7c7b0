// Reading and writing by index. An index out of range is not followed: it is reported, and thrown when the host next
// waits for the device (runtime.h).

#include "core/kernels/index.h"

#include <algorithm>
#include <cmath>

#include "cuda/strided.cuh"

namespace sked::cuda {
namespace {

/// One block a row, so that its index is read once. 2 · N·D elements moved.
template <class T>
__global__ void gather_rows_kernel(int64_t V, int64_t D, const T* table, const int64_t* ids, T* y, FaultSite site) {
  const int64_t n = blockIdx.x, id = ids[n];
  if (id < 0 || id >= V) {
    if (threadIdx.x == 0) is_index(id, V, n, site);
    return;
  }
  for (int64_t d = threadIdx.x; d < D; d += blockDim.x) y[n * D + d] = table[id * D + d];
}

/// Threads for a row of D elements: whole warps.
int row_threads(int64_t D) {
  return static_cast<int>(std::clamp<int64_t>(ceil_div(D, kWarp) * kWarp, kWarp, kThreads));
}

void gather_rows(const Tensor& table, const Tensor& ids, Tensor& y) {
  const int64_t N = y.dim(0), V = table.dim(0), D = table.dim(1);
  visit_device(y.dtype(), "gather_rows", [&]<class T>(T) {
    launch("gather_rows", gather_rows_kernel<T>, N, row_threads(D), V, D, table.data<T>(), ids.data<int64_t>(),
           y.data<T>(), fault_site("gather_rows"));
  });
}

/// One block a row v of the table looks through all ids and adds the rows of dy that belong to it, in order of n: the
/// same sums on every run, without atomics. Reads N·D elements of dy once and, mostly from cache, V·N ids: with both in
/// the tens of thousands the ids are the larger part, and a sort would pay.
template <class T>
__global__ void scatter_add_rows_kernel(int64_t N, int64_t V, int64_t D, const T* dy, const int64_t* ids, T* dtable,
                                        FaultSite site) {
  __shared__ unsigned found[kThreads / kWarp];
  const int64_t v = blockIdx.x;
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  for (int64_t first = 0; first < N; first += kThreads) {
    const int64_t n = first + threadIdx.x;
    const int64_t id = n < N ? ids[n] : v + 1;
    if (v == 0 && n < N) is_index(id, V, n, site);
    const unsigned mine = __ballot_sync(0xffffffffu, id == v);
    __syncthreads();  // the last round's masks are read
    if (lane == 0) found[warp] = mine;
    __syncthreads();
    for (int w = 0; w < kThreads / kWarp; ++w) {
      for (unsigned mask = found[w]; mask != 0; mask &= mask - 1) {  // lowest n first
        const int64_t row = first + w * kWarp + (__ffs(static_cast<int>(mask)) - 1);
        for (int64_t d = threadIdx.x; d < D; d += kThreads)
          dtable[v * D + d] = narrow<T>(widen(dtable[v * D + d]) + widen(dy[row * D + d]));
      }
    }
  }
}

void scatter_add_rows(const Tensor& dy, const Tensor& ids, Tensor& dtable) {
  const int64_t N = dy.dim(0), V = dtable.dim(0), D = dtable.dim(1);
  visit_device(dy.dtype(), "scatter_add_rows", [&]<class T>(T) {
    launch("scatter_add_rows", scatter_add_rows_kernel<T>, N == 0 ? 0 : V, kThreads, N, V, D, dy.data<T>(),
           ids.data<int64_t>(), dtable.data<T>(), fault_site("scatter_add_rows"));
  });
}

/// One thread a result: N·S scattered reads.
template <class T>
__global__ void pick_kernel(int64_t count, int64_t S, int64_t K, const T* x, const int64_t* index, T* y,
                            FaultSite site) {
  const int64_t i = global_thread();
  if (i >= count) return;
  const int64_t n = i / S, k = index[n];
  y[i] = is_index(k, K, n, site) ? x[i * K + k] : static_cast<T>(NAN);
}

void pick(const Tensor& x, const Tensor& index, Tensor& y) {
  visit_device(x.dtype(), "pick", [&]<class T>(T) {
    launch("pick", pick_kernel<T>, ceil_div(y.numel(), kThreads), kThreads, y.numel(), x.dim(1), x.dim(2), x.data<T>(),
           index.data<int64_t>(), y.data<T>(), fault_site("pick"));
  });
}

/// One thread an element of dx: N·S·K elements written.
template <class T, class Index>
__global__ void pick_backward_kernel(Index count, Divisor<Index> S, Divisor<Index> K, const T* dy, const int64_t* index,
                                     T* dx, FaultSite site) {
  const auto i = static_cast<Index>(global_thread());
  if (i >= count) return;
  const Index row = i / K, n = row / S;
  const int64_t k = i - row * K.by(), picked = index[n];
  if (k == 0) is_index(picked, K.by(), n, site);
  dx[i] = k == picked ? dy[row] : static_cast<T>(0.0f);
}

void pick_backward(const Tensor& dy, const Tensor& index, Tensor& dx) {
  visit_device(dy.dtype(), "pick_backward", [&]<class T>(T) {
    visit_index(dx.numel(), [&]<class Index>(Index) {
      launch("pick_backward", pick_backward_kernel<T, Index>, ceil_div(dx.numel(), kThreads), kThreads,
             static_cast<Index>(dx.numel()), Divisor<Index>(dx.dim(1)), Divisor<Index>(dx.dim(2)), dy.data<T>(),
             index.data<int64_t>(), dx.data<T>(), fault_site("pick_backward"));
    });
  });
}

constexpr int kBytes = 16;       // a thread at a time
constexpr int64_t kRounds = 4;   // of them, so that filling the table weighs little
constexpr int64_t kColumns = 4;  // of a table that fits

/// One byte read and one element of y written an element. The table lies in shared memory where it fits, else in the
/// first-level cache.
template <bool kFits, class T>
__global__ void look_up_kernel(int64_t n, int64_t C, const uint8_t* x, const float* table, T* y) {
  __shared__ T shared[kFits ? 256 * kColumns : 1];
  if constexpr (kFits) {
    for (int i = static_cast<int>(threadIdx.x); i < 256 * C; i += kThreads) shared[i] = static_cast<T>(table[i]);
    __syncthreads();
  }
  const int64_t begin = blockIdx.x * (kRounds * kThreads * kBytes);
  const int first = static_cast<int>(begin % C), columns = static_cast<int>(C);
  const bool whole = reinterpret_cast<uintptr_t>(x) % kBytes == 0 && reinterpret_cast<uintptr_t>(y) % 16 == 0;
  for (int round = 0; round < kRounds; ++round) {
    const int offset = (round * kThreads + static_cast<int>(threadIdx.x)) * kBytes;
    const int64_t i = begin + offset;
    int c = (first + offset) % columns;
    const auto value = [&](uint8_t byte) {
      const T v = kFits ? shared[byte * columns + c] : static_cast<T>(table[byte * columns + c]);
      if (++c == columns) c = 0;
      return v;
    };
    if (whole && i + kBytes <= n) {
      const Pack<uint8_t, kBytes> in = load<kBytes>(x + i);
#pragma unroll
      for (int p = 0; p < kBytes; p += kWide<T>) {
        Pack<T, kWide<T>> out;
#pragma unroll
        for (int k = 0; k < kWide<T>; ++k) out.v[k] = value(in.v[p + k]);
        store(y + i + p, out);
      }
    } else {
      for (int64_t j = i; j < n && j < i + kBytes; ++j) y[j] = value(x[j]);
    }
  }
}

void look_up(const Tensor& x, const Tensor& table, Tensor& y) {
  const int64_t C = table.dim(1);
  visit_device(y.dtype(), "look_up", [&]<class T>(T) {
    const auto kernel = C <= kColumns ? look_up_kernel<true, T> : look_up_kernel<false, T>;
    launch("look_up", kernel, ceil_div(x.numel(), kRounds * kThreads * kBytes), kThreads, x.numel(), C,
           x.data<uint8_t>(), table.data<float>(), y.data<T>());
  });
}

[[maybe_unused]] const bool registered =
    kernel::gather_rows.define(Device::cuda, gather_rows) &&
    kernel::scatter_add_rows.define(Device::cuda, scatter_add_rows) && kernel::pick.define(Device::cuda, pick) &&
    kernel::pick_backward.define(Device::cuda, pick_backward) && kernel::look_up.define(Device::cuda, look_up);

}  // namespace
}  // namespace sked::cuda
