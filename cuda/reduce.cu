// Reductions in a fixed order. Rows (inner = 1) go to teams of threads, columns to lines of a block; what is too long
// for one task is cut into chunks by the shape alone, and the chunks' results are reduced once more. Floor: the bytes
// of x / memory bandwidth; an addition in f64 and a conversion for every element.

#include "core/kernels/reduce.h"

#include <cmath>

#include "cuda/launch.cuh"

namespace sked::cuda {
namespace {

template <class V, class T>
__device__ V read(T x) {
  if constexpr (std::is_same_v<T, bf16>) {
    return static_cast<V>(static_cast<float>(x));
  } else {
    return static_cast<V>(x);
  }
}

/// Sums run in f64.
struct Sum {
  using Value = double;
  using Op = Plus;
  __device__ static Value neutral() { return 0.0; }
  __device__ static Value finish(Value sum, double divisor) { return sum / divisor; }
};

struct Largest {
  using Value = float;
  using Op = Larger;
  __device__ static Value neutral() { return -INFINITY; }
  __device__ static Value finish(Value value, double) { return value; }
};

template <class Out, class V>
__device__ Out write(V value) {
  if constexpr (std::is_same_v<Out, bf16>) {
    return narrow<bf16>(static_cast<float>(value));
  } else {
    return static_cast<Out>(value);
  }
}

/// x (outer, n, inner) with n cut into `chunks` of `chunk`: what one level of the reduction sees.
struct Level {
  ReduceView view;
  int64_t chunk, chunks;
  double divisor;  // of the results
};

/// inner = 1: y[o,chunk], one warp a task.
template <class R, class T, class Out>
__global__ void rows_kernel(Level level, const T* x, Out* y) {
  const int64_t task = global_thread() / kWarp, lane = threadIdx.x % kWarp;
  if (task >= level.view.outer * level.chunks) return;
  const int64_t o = task / level.chunks, first = (task - o * level.chunks) * level.chunk;
  const int64_t last = min(level.view.n, first + level.chunk);
  const T* row = x + o * level.view.n;
  typename R::Value value = R::neutral();
#pragma unroll 8
  for (int64_t i = first + lane; i < last; i += kWarp) value = typename R::Op{}(value, read<typename R::Value>(row[i]));
  value = warp_reduce(value, typename R::Op{});
  if (lane == 0) y[task] = write<Out>(R::finish(value, level.divisor));
}

constexpr int kLines = kThreads / kWarp;

/// inner > 1: y[o,chunk,j], one block 32 columns of a chunk.
template <class R, class T, class Out>
__global__ void columns_kernel(Level level, const T* x, Out* y) {
  using Value = typename R::Value;
  __shared__ Value parts[kLines][kWarp];
  const ReduceView& v = level.view;
  const int64_t column_blocks = (v.inner + kWarp - 1) / kWarp, block = blockIdx.x;
  const int lane = threadIdx.x % kWarp, line = threadIdx.x / kWarp;
  const int64_t j = block % column_blocks * kWarp + lane, task = block / column_blocks;
  const int64_t o = task / level.chunks, first = (task - o * level.chunks) * level.chunk;
  const int64_t last = min(v.n, first + level.chunk);
  Value value = R::neutral();
  if (j < v.inner) {
#pragma unroll 4
    for (int64_t i = first + line; i < last; i += kLines)
      value = typename R::Op{}(value, read<Value>(x[(o * v.n + i) * v.inner + j]));
  }
  parts[line][lane] = value;
  __syncthreads();
  if (line > 0 || j >= v.inner) return;
  for (int l = 1; l < kLines; ++l) value = typename R::Op{}(value, parts[l][lane]);
  y[task * v.inner + j] = write<Out>(R::finish(value, level.divisor));
}

template <class R, class T, class Out>
void run_level(const Level& level, const T* x, Out* y) {
  const ReduceView& v = level.view;
  const int64_t tasks = v.outer * level.chunks;
  if (v.inner == 1) {
    launch("reduce_forward", rows_kernel<R, T, Out>, ceil_div(tasks, kLines), kThreads, level, x, y);
  } else {
    launch("reduce_forward", columns_kernel<R, T, Out>, tasks * ceil_div(v.inner, kWarp), kThreads, level, x, y);
  }
}

/// y[o,j] = the reduction of x[o,·,j], divided by `divisor`.
template <class R, class T>
void reduce(const T* x, T* y, const ReduceView& view, double divisor) {
  constexpr int64_t kTasks = 8192, kFewest = 256;  // warps for every card; elements worth a task
  const int64_t tasks = view.outer * (view.inner == 1 ? 1 : ceil_div(view.inner, kWarp) * kLines);
  const int64_t wanted = std::max<int64_t>(1, kTasks / tasks);
  const int64_t chunk = std::max(kFewest, ceil_div(view.n, wanted)), chunks = ceil_div(view.n, chunk);
  if (chunks == 1) return run_level<R>({view, view.n, 1, divisor}, x, y);
  using Value = typename R::Value;
  Tensor parts = Tensor::empty({view.outer, chunks, view.inner}, dtype_of<Value>, Device::cuda);
  run_level<R>({view, chunk, chunks, 1.0}, x, parts.data<Value>());
  run_level<R>({{view.outer, chunks, view.inner}, chunks, 1, divisor}, static_cast<const Value*>(parts.data<Value>()),
               y);
}

void reduce_forward(const Tensor& x, Tensor& y, Reduce op, ReduceView view) {
  if (view.n == 0) return y.fill(0.0);
  if (y.numel() == 0) return;
  visit_device(x.dtype(), "reduce_forward", [&]<class T>(T) {
    if (op == Reduce::max) return reduce<Largest>(x.data<T>(), y.data<T>(), view, 1.0);
    reduce<Sum>(x.data<T>(), y.data<T>(), view, op == Reduce::mean ? static_cast<double>(view.n) : 1.0);
  });
}

// ---- per result: one thread where neighbors are contiguous, one warp where they are not ----------

int lanes_for(const ReduceView& view) { return view.inner >= kWarp ? 1 : kWarp; }

/// A result's place: (o, j), and this thread's share of its n elements.
struct Result {
  int64_t index, first, step, lane;

  __device__ Result(const ReduceView& v, int lanes) {
    index = global_thread() / lanes;
    lane = global_thread() % lanes;
    const int64_t o = index / v.inner;
    first = o * v.n * v.inner + (index - o * v.inner);
    step = v.inner;
  }
  __device__ bool exists(const ReduceView& v) const { return index < v.outer * v.inner; }
};

template <class T>
__global__ void reduce_max_backward_kernel(ReduceView v, int lanes, const T* x, const T* y, const T* dy, T* dx) {
  const Result r(v, lanes);
  if (!r.exists(v)) return;
  const float largest = widen(y[r.index]);
  float ties = 0;
  for (int64_t i = r.lane; i < v.n; i += lanes) ties += widen(x[r.first + i * r.step]) == largest ? 1.0f : 0.0f;
  if (lanes == kWarp) ties = warp_reduce(ties, Plus{});
  const T share = narrow<T>(widen(dy[r.index]) / ties);
  for (int64_t i = r.lane; i < v.n; i += lanes) {
    const int64_t at = r.first + i * r.step;
    dx[at] = widen(x[at]) == largest ? share : static_cast<T>(0.0f);
  }
}

/// 3 · n elements of every result moved, the second read of x mostly from cache.
void reduce_max_backward(const Tensor& x, const Tensor& y, const Tensor& dy, Tensor& dx, ReduceView view) {
  const int lanes = lanes_for(view);
  visit_device(x.dtype(), "reduce_max_backward", [&]<class T>(T) {
    launch("reduce_max_backward", reduce_max_backward_kernel<T>, ceil_div(y.numel() * lanes, kThreads), kThreads, view,
           lanes, x.data<T>(), y.data<T>(), dy.data<T>(), dx.data<T>());
  });
}

/// Does (value, i) come before (other, j)? NaN is largest; among equals the first.
__device__ bool comes_first(float value, int64_t i, float other, int64_t j) {
  const bool nan = value != value, other_nan = other != other;
  if (nan != other_nan) return nan;
  if (!nan && value != other) return value > other;
  return i < j;
}

template <class T>
__global__ void argmax_kernel(ReduceView v, int lanes, const T* x, int64_t* index) {
  const Result r(v, lanes);
  if (!r.exists(v)) return;
  float best = -INFINITY;
  int64_t which = v.n;  // none yet
  for (int64_t i = r.lane; i < v.n; i += lanes) {
    const float value = widen(x[r.first + i * r.step]);
    if (comes_first(value, i, best, which)) best = value, which = i;
  }
  for (int offset = lanes / 2; offset > 0; offset /= 2) {
    const float value = __shfl_xor_sync(0xffffffffu, best, offset);
    const int64_t i = __shfl_xor_sync(0xffffffffu, which, offset);
    if (comes_first(value, i, best, which)) best = value, which = i;
  }
  if (r.lane == 0) index[r.index] = which;
}

void argmax(const Tensor& x, Tensor& index, ReduceView view) {
  const int lanes = lanes_for(view);
  visit_device(x.dtype(), "argmax", [&]<class T>(T) {
    launch("argmax", argmax_kernel<T>, ceil_div(index.numel() * lanes, kThreads), kThreads, view, lanes, x.data<T>(),
           index.data<int64_t>());
  });
}

/// A warp a row, which it reads k times, mostly from cache: each time it finds what comes behind the last one found.
template <class T>
__global__ void top_k_kernel(int64_t N, int64_t K, int64_t k, const T* x, T* values, int64_t* index) {
  const int64_t n = global_thread() / kWarp;
  if (n >= N) return;
  const int lane = threadIdx.x % kWarp;
  const T* row = x + n * K;
  float last = 0;
  int64_t last_at = -1;  // none yet
  for (int64_t rank = 0; rank < k; ++rank) {
    float best = -INFINITY;
    int64_t which = K;  // none yet
    for (int64_t i = lane; i < K; i += kWarp) {
      const float value = widen(row[i]);
      const bool left = last_at < 0 || comes_first(last, last_at, value, i);
      if (left && comes_first(value, i, best, which)) best = value, which = i;
    }
    for (int offset = kWarp / 2; offset > 0; offset /= 2) {
      const float value = __shfl_xor_sync(0xffffffffu, best, offset);
      const int64_t i = __shfl_xor_sync(0xffffffffu, which, offset);
      if (comes_first(value, i, best, which)) best = value, which = i;
    }
    last = best, last_at = which;
    if (lane == 0) values[n * k + rank] = row[which], index[n * k + rank] = which;
  }
}

void top_k(const Tensor& x, Tensor& values, Tensor& index) {
  const int64_t N = x.dim(0);
  visit_device(x.dtype(), "top_k", [&]<class T>(T) {
    launch("top_k", top_k_kernel<T>, ceil_div(N * kWarp, kThreads), kThreads, N, x.dim(1), values.dim(1), x.data<T>(),
           values.data<T>(), index.data<int64_t>());
  });
}

[[maybe_unused]] const bool registered = kernel::reduce_forward.define(Device::cuda, reduce_forward) &&
                                         kernel::reduce_max_backward.define(Device::cuda, reduce_max_backward) &&
                                         kernel::argmax.define(Device::cuda, argmax) &&
                                         kernel::top_k.define(Device::cuda, top_k);

}  // namespace
}  // namespace sked::cuda
