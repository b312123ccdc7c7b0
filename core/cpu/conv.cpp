// Definition of 2-d convolution as products: the windows of x are laid out as the rows of a matrix (im2col), group by
// group and a few images at a time, so that each direction is one gemm.

#include "core/kernels/conv.h"

#include "core/cpu/gemm.h"
#include "core/cpu/rows.h"

namespace sked::cpu {
namespace {

/// One group of a convolution: Ig input and Og output channels, L = kernel²·Ig numbers a window in the order (r, s, i).
template <class T>
struct Group {
  ConvSizes s;
  Window window;
  int64_t Ig, Og, L;
  int64_t images;  // handled at a time, so that the windows take about 8 MiB

  Group(const ConvSizes& s, const Window& window)
      : s(s), window(window), Ig(s.I / window.groups), Og(s.O / window.groups), L(window.kernel * window.kernel * Ig) {
    const int64_t bytes = s.P * s.Q * L * static_cast<int64_t>(sizeof(T));
    images = std::clamp<int64_t>((8 << 20) / std::max<int64_t>(1, bytes), 1, std::max<int64_t>(1, s.N));
  }
  Tensor workspace() const { return Tensor::empty({images * s.P * s.Q, L}, dtype_of<T>); }

  /// f(group, first image, image count) for every group and run of images.
  template <class F>
  void for_each(F&& f) const {
    for (int64_t g = 0; g < window.groups; ++g)
      for (int64_t n = 0; n < s.N; n += images) f(g, n, std::min(images, s.N - n));
  }
};

/// columns (N,P,Q, r,s,i) = x[n, p·stride + r − padding, q·stride + s − padding, i], zero outside; x is the first of N
/// images, at the group's first channel.
template <class T>
void gather_windows(const Group<T>& g, const T* x, int64_t N, T* columns) {
  const int64_t kernel = g.window.kernel, stride = g.window.stride, padding = g.window.padding;
#pragma omp parallel for collapse(2) schedule(static)
  for (int64_t n = 0; n < N; ++n) {
    for (int64_t p = 0; p < g.s.P; ++p) {
      T* out = columns + (n * g.s.P + p) * g.s.Q * g.L;
      for (int64_t q = 0; q < g.s.Q; ++q) {
        for (int64_t r = 0; r < kernel; ++r) {
          const int64_t h = p * stride + r - padding;
          for (int64_t c = 0; c < kernel; ++c, out += g.Ig) {
            const int64_t w = q * stride + c - padding;
            const bool inside = h >= 0 && h < g.s.H && w >= 0 && w < g.s.W;
            if (inside)
              std::copy_n(x + ((n * g.s.H + h) * g.s.W + w) * g.s.I, g.Ig, out);
            else
              std::fill_n(out, g.Ig, T{0});
          }
        }
      }
    }
  }
}

/// The adjoint of gather_windows: dx = Σ over the windows that hold an element. Parallel over rows of dx, so that no
/// two threads add to the same element.
template <class T>
void scatter_windows(const Group<T>& g, const T* columns, int64_t N, T* dx) {
  const int64_t kernel = g.window.kernel, stride = g.window.stride, padding = g.window.padding;
#pragma omp parallel for collapse(2) schedule(static)
  for (int64_t n = 0; n < N; ++n) {
    for (int64_t h = 0; h < g.s.H; ++h) {
      T* row = dx + (n * g.s.H + h) * g.s.W * g.s.I;
      for (int64_t w = 0; w < g.s.W; ++w) std::fill_n(row + w * g.s.I, g.Ig, T{0});
      for (int64_t r = 0; r < kernel; ++r) {
        const int64_t p = (h + padding - r) / stride;
        if (h + padding - r < 0 || p * stride != h + padding - r || p >= g.s.P) continue;
        for (int64_t q = 0; q < g.s.Q; ++q) {
          const T* from = columns + (((n * g.s.P + p) * g.s.Q + q) * kernel + r) * kernel * g.Ig;
          for (int64_t c = 0; c < kernel; ++c, from += g.Ig) {
            const int64_t w = q * stride + c - padding;
            if (w < 0 || w >= g.s.W) continue;
#pragma omp simd
            for (int64_t i = 0; i < g.Ig; ++i) row[w * g.s.I + i] += from[i];
          }
        }
      }
    }
  }
}

/// Filters (O, Ig, taps) → (O, taps, Ig), the order of a window; with Ig and taps exchanged it is its own inverse.
template <class T>
void swap_inner(const T* w, int64_t O, int64_t rows, int64_t cols, T* out) {
#pragma omp parallel for schedule(static)
  for (int64_t o = 0; o < O; ++o)
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < cols; ++j) out[(o * cols + j) * rows + i] = w[(o * rows + i) * cols + j];
}

template <class T>
Tensor window_order(const Group<T>& g, const Tensor& w) {
  Tensor ordered = Tensor::like(w);
  swap_inner(w.data<T>(), g.s.O, g.Ig, g.window.kernel * g.window.kernel, ordered.data<T>());
  return ordered;
}

void conv2d_forward(const Tensor& x, const Tensor& w, const Tensor& b, Tensor& y, Window window) {
  const ConvSizes s = conv_sizes(x, y);
  visit_float(x.dtype(), "conv2d_forward", [&]<class T>(T) {
    const Group<T> group(s, window);
    const Tensor filters = window_order(group, w);
    Tensor columns = group.workspace();
    const int64_t M = s.P * s.Q, L = group.L, Og = group.Og;
    group.for_each([&](int64_t g, int64_t n, int64_t N) {
      gather_windows(group, x.data<T>() + n * s.H * s.W * s.I + g * group.Ig, N, columns.data<T>());
      gemm<T>(N * M, Og, L, {columns.data<T>(), L, 1}, {filters.data<T>() + g * Og * L, 1, L},
              y.data<T>() + n * M * s.O + g * Og, s.O, false);
    });
    if (!b.defined()) return;
    const T* bias = b.data<T>();
    T* out = y.data<T>();
#pragma omp parallel for schedule(static)
    for (int64_t m = 0; m < s.N * M; ++m)
      for (int64_t o = 0; o < s.O; ++o) out[m * s.O + o] += bias[o];
  });
}

void conv2d_backward_input(const Tensor& dy, const Tensor& w, Tensor& dx, Window window) {
  const ConvSizes s = conv_sizes(dx, dy);
  visit_float(dy.dtype(), "conv2d_backward_input", [&]<class T>(T) {
    const Group<T> group(s, window);
    const Tensor filters = window_order(group, w);
    Tensor columns = group.workspace();
    const int64_t M = s.P * s.Q, L = group.L, Og = group.Og;
    group.for_each([&](int64_t g, int64_t n, int64_t N) {
      gemm<T>(N * M, L, Og, {dy.data<T>() + n * M * s.O + g * Og, s.O, 1}, {filters.data<T>() + g * Og * L, L, 1},
              columns.data<T>(), L, false);
      scatter_windows(group, columns.data<T>(), N, dx.data<T>() + n * s.H * s.W * s.I + g * group.Ig);
    });
  });
}

void conv2d_backward_weight(const Tensor& dy, const Tensor& x, Tensor& dw, Tensor& db, Window window) {
  const ConvSizes s = conv_sizes(x, dy);
  visit_float(dy.dtype(), "conv2d_backward_weight", [&]<class T>(T) {
    const Group<T> group(s, window);
    Tensor dfilters = Tensor::zeros_like(dw), columns = group.workspace();
    const int64_t M = s.P * s.Q, L = group.L, Og = group.Og;
    group.for_each([&](int64_t g, int64_t n, int64_t N) {
      gather_windows(group, x.data<T>() + n * s.H * s.W * s.I + g * group.Ig, N, columns.data<T>());
      gemm<T>(Og, L, N * M, {dy.data<T>() + n * M * s.O + g * Og, 1, s.O}, {columns.data<T>(), L, 1},
              dfilters.data<T>() + g * Og * L, L, true);
    });
    swap_inner(dfilters.data<T>(), s.O, window.kernel * window.kernel, group.Ig, dw.data<T>());
    if (db.defined()) sum_rows(dy.data<T>(), s.N * M, s.O, db.data<T>());
  });
}

[[maybe_unused]] const bool registered = kernel::conv2d_forward.define(Device::cpu, conv2d_forward) &&
                                         kernel::conv2d_backward_input.define(Device::cpu, conv2d_backward_input) &&
                                         kernel::conv2d_backward_weight.define(Device::cpu, conv2d_backward_weight);

}  // namespace
}  // namespace sked::cpu
