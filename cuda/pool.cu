// Pooling in NHWC, one thread an element: of the output forward, of the input backward, so that nothing is added to by
// two threads and the sums have one order. Neighbouring threads are neighbouring channels. Floor: input and output
// once, where the windows' overlap stays in cache.

#include <cmath>

#include "core/kernels/conv.h"
#include "core/kernels/sizes.h"
#include "cuda/launch.cuh"

namespace sked::cuda {
namespace {

/// Element i of a tensor (N, rows, cols, C).
struct Place {
  int64_t n, row, col, c;
  __device__ Place(int64_t i, int64_t rows, int64_t cols, int64_t C) {
    const int64_t pixel = i / C, line = pixel / cols;
    c = i - pixel * C;
    col = pixel - line * cols;
    n = line / rows;
    row = line - n * rows;
  }
};

/// The taps [begin, end) of a window starting at `start` that lie inside 0 … extent − 1.
struct Taps {
  int64_t begin, end;
  __device__ Taps(int64_t start, int64_t kernel, int64_t extent)
      : begin(max(int64_t{0}, -start)), end(min(kernel, extent - start)) {}
};

/// f(p, r) for every window p of `outputs` that holds input element h, r being the tap it is at.
template <class F>
__device__ void for_each_window(int64_t h, const Window& window, int64_t outputs, F f) {
  for (int64_t r = 0; r < window.kernel; ++r) {
    const int64_t start = h + window.padding - r, p = start / window.stride;
    if (start >= 0 && p * window.stride == start && p < outputs) f(p, r);
  }
}

template <class T>
__global__ void max_pool2d_forward_kernel(PoolSizes s, Window window, const T* x, T* y, uint8_t* which) {
  const int64_t i = global_thread();
  if (i >= s.N * s.P * s.Q * s.C) return;
  const Place to(i, s.P, s.Q, s.C);
  const int64_t top = to.row * window.stride - window.padding, left = to.col * window.stride - window.padding;
  const Taps rows(top, window.kernel, s.H), cols(left, window.kernel, s.W);
  float largest = -INFINITY;
  int64_t tap = rows.begin * window.kernel + cols.begin;
  for (int64_t r = rows.begin; r < rows.end; ++r) {
    for (int64_t t = cols.begin; t < cols.end; ++t) {
      const float value = widen(x[((to.n * s.H + top + r) * s.W + left + t) * s.C + to.c]);
      if (!(value > largest || value != value)) continue;  // NaN wins, so that it is seen
      largest = value;
      tap = r * window.kernel + t;
    }
  }
  y[i] = static_cast<T>(largest);
  which[i] = static_cast<uint8_t>(tap);
}

template <class T>
__global__ void max_pool2d_backward_kernel(PoolSizes s, Window window, const T* dy, const uint8_t* which, T* dx) {
  const int64_t i = global_thread();
  if (i >= s.N * s.H * s.W * s.C) return;
  const Place at(i, s.H, s.W, s.C);
  float sum = 0;
  for_each_window(at.row, window, s.P, [&](int64_t p, int64_t r) {
    for_each_window(at.col, window, s.Q, [&](int64_t q, int64_t t) {
      const int64_t from = ((at.n * s.P + p) * s.Q + q) * s.C + at.c;
      if (which[from] == r * window.kernel + t) sum += widen(dy[from]);
    });
  });
  dx[i] = static_cast<T>(sum);
}

template <class T>
__global__ void avg_pool2d_forward_kernel(PoolSizes s, Window window, const T* x, T* y) {
  const int64_t i = global_thread();
  if (i >= s.N * s.P * s.Q * s.C) return;
  const Place to(i, s.P, s.Q, s.C);
  const int64_t top = to.row * window.stride - window.padding, left = to.col * window.stride - window.padding;
  const Taps rows(top, window.kernel, s.H), cols(left, window.kernel, s.W);
  float sum = 0;
  for (int64_t r = rows.begin; r < rows.end; ++r)
    for (int64_t t = cols.begin; t < cols.end; ++t)
      sum += widen(x[((to.n * s.H + top + r) * s.W + left + t) * s.C + to.c]);
  y[i] = static_cast<T>(sum / static_cast<float>(window.kernel * window.kernel));
}

template <class T>
__global__ void avg_pool2d_backward_kernel(PoolSizes s, Window window, const T* dy, T* dx) {
  const int64_t i = global_thread();
  if (i >= s.N * s.H * s.W * s.C) return;
  const Place at(i, s.H, s.W, s.C);
  float sum = 0;
  for_each_window(at.row, window, s.P, [&](int64_t p, int64_t) {
    for_each_window(at.col, window, s.Q,
                    [&](int64_t q, int64_t) { sum += widen(dy[((at.n * s.P + p) * s.Q + q) * s.C + at.c]); });
  });
  dx[i] = static_cast<T>(sum / static_cast<float>(window.kernel * window.kernel));
}

void max_pool2d_forward(const Tensor& x, Tensor& y, Tensor& which, Window window) {
  const char* where = "max_pool2d_forward";
  const PoolSizes s = pool_sizes(x, y, which, window, where);
  visit_device(x.dtype(), where, [&]<class T>(T) {
    launch(where, max_pool2d_forward_kernel<T>, ceil_div(y.numel(), kThreads), kThreads, s, window, x.data<T>(),
           y.data<T>(), which.data<uint8_t>());
  });
}

void max_pool2d_backward(const Tensor& dy, const Tensor& which, Tensor& dx, Window window) {
  const char* where = "max_pool2d_backward";
  const PoolSizes s = pool_sizes(dx, dy, which, window, where);
  visit_device(dy.dtype(), where, [&]<class T>(T) {
    launch(where, max_pool2d_backward_kernel<T>, ceil_div(dx.numel(), kThreads), kThreads, s, window, dy.data<T>(),
           which.data<uint8_t>(), dx.data<T>());
  });
}

void avg_pool2d_forward(const Tensor& x, Tensor& y, Window window) {
  const char* where = "avg_pool2d_forward";
  const PoolSizes s = pool_sizes(x, y, {}, window, where);
  visit_device(x.dtype(), where, [&]<class T>(T) {
    launch(where, avg_pool2d_forward_kernel<T>, ceil_div(y.numel(), kThreads), kThreads, s, window, x.data<T>(),
           y.data<T>());
  });
}

void avg_pool2d_backward(const Tensor& dy, Tensor& dx, Window window) {
  const char* where = "avg_pool2d_backward";
  const PoolSizes s = pool_sizes(dx, dy, {}, window, where);
  visit_device(dy.dtype(), where, [&]<class T>(T) {
    launch(where, avg_pool2d_backward_kernel<T>, ceil_div(dx.numel(), kThreads), kThreads, s, window, dy.data<T>(),
           dx.data<T>());
  });
}

[[maybe_unused]] const bool registered = kernel::max_pool2d_forward.define(Device::cuda, max_pool2d_forward) &&
                                         kernel::max_pool2d_backward.define(Device::cuda, max_pool2d_backward) &&
                                         kernel::avg_pool2d_forward.define(Device::cuda, avg_pool2d_forward) &&
                                         kernel::avg_pool2d_backward.define(Device::cuda, avg_pool2d_backward);

}  // namespace
}  // namespace sked::cuda
