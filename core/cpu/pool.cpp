// Definition of 2-d pooling: every output element looks at its window; in the backward direction every input element
// looks at the windows it lies in, so that no two threads add to the same element.

#include <limits>

#include "core/kernels/pool.h"

namespace sked::cpu {
namespace {

/// The taps r in [begin, end) of a window that starts at `start` and lie inside 0 … extent−1.
struct Taps {
  int64_t begin, end;
  Taps(int64_t start, int64_t kernel, int64_t extent)
      : begin(std::max<int64_t>(0, -start)), end(std::min(kernel, extent - start)) {}
};

/// The windows p of `outputs` that hold input element h: first … last; it is tap h + padding − p·stride of theirs.
struct Windows {
  int64_t first, last;
  Windows(int64_t h, const Window& window, int64_t outputs)
      : first(std::max<int64_t>(0, (h + window.padding - window.kernel + window.stride) / window.stride)),
        last(std::min(outputs - 1, (h + window.padding) / window.stride)) {}
};

void max_pool2d_forward(const Tensor& x, Tensor& y, Tensor& which, Window window) {
  const PoolSizes s = pool_sizes(x, y);
  visit_float(x.dtype(), "max_pool2d_forward", [&]<class T>(T) {
    const T* in = x.data<T>();
    T* out = y.data<T>();
    uint8_t* taps = which.data<uint8_t>();
#pragma omp parallel for collapse(2) schedule(static)
    for (int64_t n = 0; n < s.N; ++n) {
      for (int64_t p = 0; p < s.P; ++p) {
        const int64_t top = p * window.stride - window.padding;
        const Taps rows(top, window.kernel, s.H);
        for (int64_t q = 0; q < s.Q; ++q) {
          const int64_t left = q * window.stride - window.padding, to = ((n * s.P + p) * s.Q + q) * s.C;
          const Taps cols(left, window.kernel, s.W);
          std::fill_n(out + to, s.C, -std::numeric_limits<T>::infinity());
          std::fill_n(taps + to, s.C, static_cast<uint8_t>(rows.begin * window.kernel + cols.begin));
          for (int64_t r = rows.begin; r < rows.end; ++r) {
            for (int64_t t = cols.begin; t < cols.end; ++t) {
              const T* from = in + ((n * s.H + top + r) * s.W + left + t) * s.C;
              const uint8_t tap = static_cast<uint8_t>(r * window.kernel + t);
#pragma omp simd
              for (int64_t c = 0; c < s.C; ++c) {
                const bool larger = from[c] > out[to + c] || from[c] != from[c];  // NaN wins, so that it is seen
                out[to + c] = larger ? from[c] : out[to + c];
                taps[to + c] = larger ? tap : taps[to + c];
              }
            }
          }
        }
      }
    }
  });
}

void max_pool2d_backward(const Tensor& dy, const Tensor& which, Tensor& dx, Window window) {
  const PoolSizes s = pool_sizes(dx, dy);
  visit_float(dy.dtype(), "max_pool2d_backward", [&]<class T>(T) {
    const T* g = dy.data<T>();
    const uint8_t* taps = which.data<uint8_t>();
    T* out = dx.data<T>();
#pragma omp parallel for collapse(2) schedule(static)
    for (int64_t n = 0; n < s.N; ++n) {
      for (int64_t h = 0; h < s.H; ++h) {
        const Windows rows(h, window, s.P);
        for (int64_t w = 0; w < s.W; ++w) {
          const Windows cols(w, window, s.Q);
          T* to = out + ((n * s.H + h) * s.W + w) * s.C;
          std::fill_n(to, s.C, T{0});
          for (int64_t p = rows.first; p <= rows.last; ++p) {
            for (int64_t q = cols.first; q <= cols.last; ++q) {
              const int64_t from = ((n * s.P + p) * s.Q + q) * s.C;
              const int64_t r = h + window.padding - p * window.stride, t = w + window.padding - q * window.stride;
              const uint8_t tap = static_cast<uint8_t>(r * window.kernel + t);
#pragma omp simd
              for (int64_t c = 0; c < s.C; ++c) to[c] += taps[from + c] == tap ? g[from + c] : T{0};
            }
          }
        }
      }
    }
  });
}

void avg_pool2d_forward(const Tensor& x, Tensor& y, Window window) {
  const PoolSizes s = pool_sizes(x, y);
  visit_float(x.dtype(), "avg_pool2d_forward", [&]<class T>(T) {
    const T* in = x.data<T>();
    T* out = y.data<T>();
    const T share = T{1} / static_cast<T>(window.kernel * window.kernel);
#pragma omp parallel for collapse(2) schedule(static)
    for (int64_t n = 0; n < s.N; ++n) {
      for (int64_t p = 0; p < s.P; ++p) {
        const int64_t top = p * window.stride - window.padding;
        const Taps rows(top, window.kernel, s.H);
        for (int64_t q = 0; q < s.Q; ++q) {
          const int64_t left = q * window.stride - window.padding;
          const Taps cols(left, window.kernel, s.W);
          T* to = out + ((n * s.P + p) * s.Q + q) * s.C;
          std::fill_n(to, s.C, T{0});
          for (int64_t r = rows.begin; r < rows.end; ++r) {
            for (int64_t t = cols.begin; t < cols.end; ++t) {
              const T* from = in + ((n * s.H + top + r) * s.W + left + t) * s.C;
#pragma omp simd
              for (int64_t c = 0; c < s.C; ++c) to[c] += from[c] * share;
            }
          }
        }
      }
    }
  });
}

void avg_pool2d_backward(const Tensor& dy, Tensor& dx, Window window) {
  const PoolSizes s = pool_sizes(dx, dy);
  visit_float(dy.dtype(), "avg_pool2d_backward", [&]<class T>(T) {
    const T* g = dy.data<T>();
    T* out = dx.data<T>();
    const T share = T{1} / static_cast<T>(window.kernel * window.kernel);
#pragma omp parallel for collapse(2) schedule(static)
    for (int64_t n = 0; n < s.N; ++n) {
      for (int64_t h = 0; h < s.H; ++h) {
        const Windows rows(h, window, s.P);
        for (int64_t w = 0; w < s.W; ++w) {
          const Windows cols(w, window, s.Q);
          T* to = out + ((n * s.H + h) * s.W + w) * s.C;
          std::fill_n(to, s.C, T{0});
          for (int64_t p = rows.first; p <= rows.last; ++p) {
            for (int64_t q = cols.first; q <= cols.last; ++q) {
              const T* from = g + ((n * s.P + p) * s.Q + q) * s.C;
#pragma omp simd
              for (int64_t c = 0; c < s.C; ++c) to[c] += from[c] * share;
            }
          }
        }
      }
    }
  });
}

[[maybe_unused]] const bool registered = kernel::max_pool2d_forward.define(Device::cpu, max_pool2d_forward) &&
                                         kernel::max_pool2d_backward.define(Device::cpu, max_pool2d_backward) &&
                                         kernel::avg_pool2d_forward.define(Device::cpu, avg_pool2d_forward) &&
                                         kernel::avg_pool2d_backward.define(Device::cpu, avg_pool2d_backward);

}  // namespace
}  // namespace sked::cpu
