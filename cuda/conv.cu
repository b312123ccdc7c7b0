// Convolution as products: the windows of x are laid out as the rows of a matrix, group by group and a few images at a
// time, so that each direction is one product: by gemm.cu's kernel in the definitions. The tuned versions leave it to
// cuDNN, and where that has nothing on offer make the products by cuBLASLt. Beside the product's operations the windows
// cost 2 · kernel² times the bytes of x, which cuDNN's implicit products do not move.
//
// Products take both factors in one dtype: f32 filters beside bf16 images are read rounded (Tensor::read_as) and,
// unless they have one tap, laid out as the windows are. cuDNN sums bf16 gradients of filters in f32 and rounds them to
// bf16 once; the products here keep them in f32.

#include "core/kernels/conv.h"

#include <algorithm>

#include "core/kernels/memory.h"
#include "cuda/columns.cuh"
#include "cuda/cudnn.h"
#include "cuda/gemm.h"

namespace sked::cuda {
namespace {

using Product = void (*)(const Gemm&, const char*);

/// One group: Ig input and Og output channels, L = kernel²·Ig numbers a window in the order (r, s, i).
struct Group {
  ConvSizes s;
  Window window;
  int64_t Ig, Og, L;
  int64_t images;  // at a time, so that the windows take at most 256 MiB

  Group(const ConvSizes& s, const Window& window, int64_t element)
      : s(s), window(window), Ig(s.I / window.groups), Og(s.O / window.groups), L(window.kernel * window.kernel * Ig) {
    const int64_t bytes = std::max<int64_t>(1, s.P * s.Q * L * element);
    images = std::clamp<int64_t>((int64_t{256} << 20) / bytes, 1, std::max<int64_t>(1, s.N));
  }
  int64_t M() const { return s.P * s.Q; }
  Tensor workspace(DType dtype) const { return Tensor::empty({images * M(), L}, dtype, Device::cuda); }

  /// f(group, first image, image count) for every group and run of images.
  template <class F>
  void for_each(F&& f) const {
    for (int64_t g = 0; g < window.groups; ++g)
      for (int64_t n = 0; n < s.N; n += images) f(g, n, std::min(images, s.N - n));
  }
};

/// columns (N,P,Q, r,s,i), one thread an element: 2 · N·P·Q·L elements moved, x mostly from cache.
template <class T>
__global__ void gather_windows_kernel(ConvSizes s, Window w, int64_t Ig, int64_t count, const T* x, T* columns) {
  const int64_t i = global_thread();
  if (i >= count) return;
  const int64_t tap = i / Ig, channel = i - tap * Ig, row = tap / w.kernel, c = tap - row * w.kernel;
  const int64_t window = row / w.kernel, r = row - window * w.kernel, line = window / s.Q, q = window - line * s.Q;
  const int64_t n = line / s.P, p = line - n * s.P, h = p * w.stride + r - w.padding, v = q * w.stride + c - w.padding;
  const bool inside = h >= 0 && h < s.H && v >= 0 && v < s.W;
  columns[i] = inside ? x[((n * s.H + h) * s.W + v) * s.I + channel] : static_cast<T>(0.0f);
}

/// The adjoint: one thread an element of dx adds the windows it lies in, in the order of their taps.
template <class T>
__global__ void scatter_windows_kernel(ConvSizes s, Window w, int64_t Ig, int64_t count, const T* columns, T* dx) {
  const int64_t i = global_thread();
  if (i >= count) return;
  const int64_t pixel = i / Ig, channel = i - pixel * Ig, line = pixel / s.W, v = pixel - line * s.W;
  const int64_t n = line / s.H, h = line - n * s.H;
  float sum = 0;
  for (int64_t r = 0; r < w.kernel; ++r) {
    const int64_t top = h + w.padding - r, p = top / w.stride;
    if (top < 0 || p * w.stride != top || p >= s.P) continue;
    for (int64_t c = 0; c < w.kernel; ++c) {
      const int64_t left = v + w.padding - c, q = left / w.stride;
      if (left < 0 || q * w.stride != left || q >= s.Q) continue;
      sum += widen(columns[((((n * s.P + p) * s.Q + q) * w.kernel + r) * w.kernel + c) * Ig + channel]);
    }
  }
  dx[pixel * s.I + channel] = narrow<T>(sum);
}

/// y[m,o] += b[o].
template <class T>
__global__ void add_bias_kernel(int64_t count, int64_t O, const float* b, T* y) {
  const int64_t i = global_thread();
  if (i < count) y[i] = narrow<T>(widen(y[i]) + b[i % O]);
}

/// Filters (O,Ig,kernel,kernel) as (O,kernel,kernel,Ig), the order of a window, in `dtype`.
Tensor window_order(const Tensor& w, DType dtype) {
  const int64_t O = w.dim(0), Ig = w.dim(1), k = w.dim(2);
  const Tensor rounded = w.read_as(dtype);
  if (k == 1) return rounded.reshape({O, 1, 1, Ig});
  Tensor ordered = Tensor::empty({O, k, k, Ig}, dtype, Device::cuda);
  kernel::permute(rounded, ordered, {0, 2, 3, 1});
  return ordered;
}

/// By cuDNN, in the tuned versions and where it has a plan; else nothing has happened.
template <Product multiply>
bool by_cudnn(cudnn::Pass pass, DType dtype, const ConvSizes& s, const Window& window, const Tensor& a, const Tensor& b,
              Tensor& c) {
  if (multiply == gemm_definition || a.numel() == 0) return false;
  return cudnn::run({pass, dtype, s, window}, a.raw(), b.raw(), c.raw());
}

template <class T>
void gather_windows(const Group& g, const T* x, int64_t N, T* columns, const char* where) {
  const int64_t count = N * g.M() * g.L;
  launch(where, gather_windows_kernel<T>, ceil_div(count, kThreads), kThreads, g.s, g.window, g.Ig, count, x, columns);
}

Gemm product(DType dtype, int64_t M, int64_t N, int64_t Q, const void* a, int64_t lda, bool ta, const void* b,
             int64_t ldb, bool tb, void* c, int64_t ldc) {
  return {.M = M,
          .N = N,
          .Q = Q,
          .a = a,
          .lda = lda,
          .transpose_a = ta,
          .b = b,
          .ldb = ldb,
          .transpose_b = tb,
          .c = c,
          .ldc = ldc,
          .in = dtype,
          .out = dtype};
}

template <Product multiply, class T>
void forward_by_windows(const Group& group, const Tensor& x, const Tensor& filters, Tensor& y, const char* where) {
  const ConvSizes& s = group.s;
  Tensor columns = group.workspace(x.dtype());
  const int64_t M = group.M(), L = group.L, Og = group.Og;
  group.for_each([&](int64_t g, int64_t n, int64_t N) {
    gather_windows(group, x.data<T>() + n * s.H * s.W * s.I + g * group.Ig, N, columns.data<T>(), where);
    multiply(product(x.dtype(), N * M, Og, L, columns.raw(), L, false, filters.data<T>() + g * Og * L, L, true,
                     y.data<T>() + n * M * s.O + g * Og, s.O),
             where);
  });
}

template <Product multiply>
void conv2d_forward(const Tensor& x, const Tensor& w, const Tensor& b, Tensor& y, Window window) {
  const char* where = "conv2d_forward";
  const ConvSizes s = conv_sizes(x, y);
  if (y.numel() == 0) return;
  const Tensor filters = window_order(w, x.dtype());
  const bool done = by_cudnn<multiply>(cudnn::Pass::forward, x.dtype(), s, window, x, filters, y);
  visit_device(x.dtype(), where, [&]<class T>(T) {
    if (!done) forward_by_windows<multiply, T>(Group(s, window, sizeof(T)), x, filters, y, where);
    if (!b.defined()) return;
    const Tensor bias = b.to(DType::f32);
    launch(where, add_bias_kernel<T>, ceil_div(y.numel(), kThreads), kThreads, y.numel(), s.O, bias.data<float>(),
           y.data<T>());
  });
}

template <Product multiply>
void conv2d_backward_input(const Tensor& dy, const Tensor& w, Tensor& dx, Window window) {
  const char* where = "conv2d_backward_input";
  const ConvSizes s = conv_sizes(dx, dy);
  if (dx.numel() == 0) return;
  const Tensor filters = window_order(w, dy.dtype());
  if (by_cudnn<multiply>(cudnn::Pass::backward_input, dy.dtype(), s, window, dy, filters, dx)) return;
  visit_device(dy.dtype(), where, [&]<class T>(T) {
    const Group group(s, window, sizeof(T));
    Tensor columns = group.workspace(dy.dtype());
    const int64_t M = group.M(), L = group.L, Og = group.Og;
    group.for_each([&](int64_t g, int64_t n, int64_t N) {
      multiply(product(dy.dtype(), N * M, L, Og, dy.data<T>() + n * M * s.O + g * Og, s.O, false,
                       filters.data<T>() + g * Og * L, L, false, columns.raw(), L),
               where);
      const int64_t count = N * s.H * s.W * group.Ig;
      launch(where, scatter_windows_kernel<T>, ceil_div(count, kThreads), kThreads, s, window, group.Ig, count,
             static_cast<const T*>(columns.data<T>()), dx.data<T>() + n * s.H * s.W * s.I + g * group.Ig);
    });
  });
}

/// The gradient of the filters (O,kernel,kernel,Ig), summed over runs of images in f32.
template <Product multiply, class T>
Tensor filter_gradient_by_windows(const Group& group, const Tensor& dy, const Tensor& x, const char* where) {
  const ConvSizes& s = group.s;
  const int64_t M = group.M(), L = group.L, Og = group.Og, k = group.window.kernel;
  Tensor dfilters = Tensor::zeros({s.O, k, k, group.Ig}, DType::f32, Device::cuda);
  Tensor columns = group.workspace(x.dtype());
  group.for_each([&](int64_t g, int64_t n, int64_t N) {
    gather_windows(group, x.data<T>() + n * s.H * s.W * s.I + g * group.Ig, N, columns.data<T>(), where);
    Gemm p = product(x.dtype(), Og, L, N * M, dy.data<T>() + n * M * s.O + g * Og, s.O, true, columns.raw(), L, false,
                     dfilters.data<float>() + g * Og * L, L);
    p.out = DType::f32;
    p.accumulate = true;
    multiply(p, where);
  });
  return dfilters;
}

template <Product multiply>
void conv2d_backward_weight(const Tensor& dy, const Tensor& x, Tensor& dw, Tensor& db, Window window) {
  const char* where = "conv2d_backward_weight";
  const ConvSizes s = conv_sizes(x, dy);
  const int64_t k = window.kernel;
  visit_device(dy.dtype(), where, [&]<class T>(T) {
    Tensor dfilters = Tensor::empty({s.O, k, k, s.I / window.groups}, x.dtype(), Device::cuda);
    if (!by_cudnn<multiply>(cudnn::Pass::backward_weight, dy.dtype(), s, window, dy, x, dfilters))
      dfilters = filter_gradient_by_windows<multiply, T>(Group(s, window, sizeof(T)), dy, x, where);
    if (k == 1) {
      dw.copy_from(dfilters.reshape(dw.shape()));
    } else {
      kernel::permute(dfilters.to(dw.dtype()), dw, {0, 3, 1, 2});
    }
    if (!db.defined()) return;
    Tensor sums = Tensor::empty({s.O}, DType::f32, Device::cuda);
    sum_columns(where, s.N * s.P * s.Q, s.O, dy.data<T>(), sums.data<float>());
    db.copy_from(sums);
  });
}

[[maybe_unused]] const bool registered =
    kernel::conv2d_forward.define(Device::cuda, conv2d_forward<gemm_definition>) &&
    kernel::conv2d_forward.tune(Device::cuda, conv2d_forward<gemm>) &&
    kernel::conv2d_backward_input.define(Device::cuda, conv2d_backward_input<gemm_definition>) &&
    kernel::conv2d_backward_input.tune(Device::cuda, conv2d_backward_input<gemm>) &&
    kernel::conv2d_backward_weight.define(Device::cuda, conv2d_backward_weight<gemm_definition>) &&
    kernel::conv2d_backward_weight.tune(Device::cuda, conv2d_backward_weight<gemm>);

}  // namespace
}  // namespace sked::cuda
