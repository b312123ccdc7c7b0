// Pooling in NHWC, one thread a pack of channels: of the output forward, of the input backward, so that nothing is
// added to by two threads and the sums have one order. Neighboring threads are neighboring channels.
//
// Floor: input and output once, where the windows' overlap stays in cache. Windows of 3 with stride 2, bf16, machine
// code for sm_90, an element: forward 77 instructions and 1.1 loads, backward 35 and 0.6, where an H100 issues 109 and
// 27 while the memory works (one element a thread with 64-bit divisions: some 500 backward, 4.5 loads).

#include <algorithm>
#include <cmath>

#include "core/kernels/pool.h"
#include "cuda/strided.cuh"

namespace sked::cuda {
namespace {

/// Sizes and window, in a signed type that holds every offset.
template <class Int>
struct Pool {
  Int N;
  Divisor<Int> H, W, C, P, Q, stride;
  Int kernel, padding;

  Pool(const PoolSizes& s, const Window& window)
      : N(static_cast<Int>(s.N)),
        H(s.H),
        W(s.W),
        C(s.C),
        P(s.P),
        Q(s.Q),
        stride(window.stride),
        kernel(static_cast<Int>(window.kernel)),
        padding(static_cast<Int>(window.padding)) {}
};

/// Element i of a tensor (N, rows, cols, C).
template <class Int>
struct Place {
  Int n, row, col, c;
  __device__ Place(Int i, const Divisor<Int>& rows, const Divisor<Int>& cols, const Divisor<Int>& C) {
    const Int pixel = i / C, line = pixel / cols;
    c = i - pixel * C.by();
    col = pixel - line * cols.by();
    n = line / rows;
    row = line - n * rows.by();
  }
};

/// What lies inside: the taps [begin, end) of output p's window over 0 … extent − 1.
template <class Int>
struct Taps {
  Int start, begin, end;
  __device__ Taps(Int p, const Pool<Int>& s, Int extent)
      : start(p * s.stride.by() - s.padding), begin(max(Int{0}, -start)), end(min(s.kernel, extent - start)) {}
};

/// The windows [first, last] of `outputs` that hold input element h; it is at tap h + padding − p · stride of window p.
template <class Int>
struct Windows {
  Int at, first, last;
  __device__ Windows(Int h, const Pool<Int>& s, Int outputs)
      : at(h + s.padding),
        first(at >= s.kernel ? (at - s.kernel) / s.stride + 1 : 0),
        last(min(at / s.stride, outputs - 1)) {}
};

/// y = the window's largest element, and `which` its tap, or the sum of its elements over kernel².
template <bool kLargest, int kN, class Int, class T>
__global__ void pool_forward_kernel(int64_t count, Pool<Int> s, const T* x, T* y, uint8_t* which) {
  const int64_t i = global_thread() * kN;
  if (i >= count) return;
  const Place<Int> to(static_cast<Int>(i), s.P, s.Q, s.C);
  const Taps<Int> rows(to.row, s, s.H.by()), cols(to.col, s, s.W.by());
  float value[kN];
  int tap[kN];
#pragma unroll
  for (int k = 0; k < kN; ++k) {
    value[k] = kLargest ? -INFINITY : 0.0f;
    tap[k] = static_cast<int>(rows.begin * s.kernel + cols.begin);
  }
  for (Int r = rows.begin; r < rows.end; ++r) {
    for (Int t = cols.begin; t < cols.end; ++t) {
      const Pack<T, kN> in =
          load<kN>(x + ((to.n * s.H.by() + rows.start + r) * s.W.by() + cols.start + t) * s.C.by() + to.c);
#pragma unroll
      for (int k = 0; k < kN; ++k) {
        const float element = widen(in.v[k]);
        if constexpr (kLargest) {
          const bool wins = element > value[k] || element != element;  // NaN does, so that it is seen
          value[k] = wins ? element : value[k];
          tap[k] = wins ? static_cast<int>(r * s.kernel + t) : tap[k];
        } else {
          value[k] += element;
        }
      }
    }
  }
  Pack<T, kN> out;
  Pack<uint8_t, kN> taps;
#pragma unroll
  for (int k = 0; k < kN; ++k) {
    out.v[k] = narrow<T>(kLargest ? value[k] : value[k] / static_cast<float>(s.kernel * s.kernel));
    taps.v[k] = static_cast<uint8_t>(tap[k]);
  }
  store(y + i, out);
  if constexpr (kLargest) store(which + i, taps);
}

/// dx = the sum of dy over the windows where the element was the largest, or over all that hold it, over kernel².
template <bool kLargest, int kN, class Int, class T>
__global__ void pool_backward_kernel(int64_t count, Pool<Int> s, const T* dy, const uint8_t* which, T* dx) {
  const int64_t i = global_thread() * kN;
  if (i >= count) return;
  const Place<Int> at(static_cast<Int>(i), s.H, s.W, s.C);
  const Windows<Int> rows(at.row, s, s.P.by()), cols(at.col, s, s.Q.by());
  float sum[kN] = {};
  for (Int p = rows.last; p >= rows.first; --p) {
    for (Int q = cols.last; q >= cols.first; --q) {
      const Int from = ((at.n * s.P.by() + p) * s.Q.by() + q) * s.C.by() + at.c;
      const Pack<T, kN> up = load<kN>(dy + from);
      if constexpr (kLargest) {
        const auto tap = static_cast<uint8_t>((rows.at - p * s.stride.by()) * s.kernel + cols.at - q * s.stride.by());
        const Pack<uint8_t, kN> taps = load<kN>(which + from);
#pragma unroll
        for (int k = 0; k < kN; ++k) sum[k] += taps.v[k] == tap ? widen(up.v[k]) : 0.0f;
      } else {
#pragma unroll
        for (int k = 0; k < kN; ++k) sum[k] += widen(up.v[k]);
      }
    }
  }
  Pack<T, kN> out;
#pragma unroll
  for (int k = 0; k < kN; ++k)
    out.v[k] = narrow<T>(kLargest ? sum[k] : sum[k] / static_cast<float>(s.kernel * s.kernel));
  store(dx + i, out);
}

/// Calls f(pool, channels a thread as a constant) with the narrowest integers and the widest packs.
template <class T, class F>
void visit_pool(const PoolSizes& s, const Window& window, std::initializer_list<const void*> pointers, F&& f) {
  const bool packs = s.C % kWide<T> == 0 && aligned16(pointers);
  visit_index(std::max({s.N * s.H * s.W * s.C, s.N * s.P * s.Q * s.C, window.stride}), [&]<class Index>(Index) {
    const Pool<std::make_signed_t<Index>> pool(s, window);
    if (packs) return f(pool, std::integral_constant<int, kWide<T>>{});
    f(pool, std::integral_constant<int, 1>{});
  });
}

template <bool kLargest>
void pool_forward(const char* where, const Tensor& x, Tensor& y, uint8_t* which, const PoolSizes& s,
                  const Window& window) {
  visit_device(x.dtype(), where, [&]<class T>(T) {
    const T* in = x.data<T>();
    T* out = y.data<T>();
    visit_pool<T>(s, window, {in, out, which}, [&]<class Int, int kN>(Pool<Int> pool, std::integral_constant<int, kN>) {
      launch(where, pool_forward_kernel<kLargest, kN, Int, T>, ceil_div(y.numel(), kN * kThreads), kThreads, y.numel(),
             pool, in, out, which);
    });
  });
}

template <bool kLargest>
void pool_backward(const char* where, const Tensor& dy, const uint8_t* which, Tensor& dx, const PoolSizes& s,
                   const Window& window) {
  visit_device(dy.dtype(), where, [&]<class T>(T) {
    const T* up = dy.data<T>();
    T* out = dx.data<T>();
    visit_pool<T>(s, window, {up, which, out}, [&]<class Int, int kN>(Pool<Int> pool, std::integral_constant<int, kN>) {
      launch(where, pool_backward_kernel<kLargest, kN, Int, T>, ceil_div(dx.numel(), kN * kThreads), kThreads,
             dx.numel(), pool, up, which, out);
    });
  });
}

void max_pool2d_forward(const Tensor& x, Tensor& y, Tensor& which, Window window) {
  const char* where = "max_pool2d_forward";
  const PoolSizes s = pool_sizes(x, y);
  pool_forward<true>(where, x, y, which.data<uint8_t>(), s, window);
}

void max_pool2d_backward(const Tensor& dy, const Tensor& which, Tensor& dx, Window window) {
  const char* where = "max_pool2d_backward";
  const PoolSizes s = pool_sizes(dx, dy);
  pool_backward<true>(where, dy, which.data<uint8_t>(), dx, s, window);
}

void avg_pool2d_forward(const Tensor& x, Tensor& y, Window window) {
  const char* where = "avg_pool2d_forward";
  pool_forward<false>(where, x, y, nullptr, pool_sizes(x, y), window);
}

void avg_pool2d_backward(const Tensor& dy, Tensor& dx, Window window) {
  const char* where = "avg_pool2d_backward";
  pool_backward<false>(where, dy, nullptr, dx, pool_sizes(dx, dy), window);
}

[[maybe_unused]] const bool registered = kernel::max_pool2d_forward.define(Device::cuda, max_pool2d_forward) &&
                                         kernel::max_pool2d_backward.define(Device::cuda, max_pool2d_backward) &&
                                         kernel::avg_pool2d_forward.define(Device::cuda, avg_pool2d_forward) &&
                                         kernel::avg_pool2d_backward.define(Device::cuda, avg_pool2d_backward);

}  // namespace
}  // namespace sked::cuda
