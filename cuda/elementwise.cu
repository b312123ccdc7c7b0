// Element-wise functions: the arithmetic is core/kernels/functors.h's, instantiated for the device. In f32 all are
// bound by memory, with up to 68 and, backwards, 85 instructions an element on 8 and 12 bytes, of which an H100 issues
// 78 and 118 meanwhile. In bf16, where it issues half as many, GELU (approx.cuh, 20 and 24) still is; its tanh form,
// tanh, softplus and log σ take up to two thirds longer than memory.

#include "core/kernels/elementwise.h"

#include "core/kernels/functors.h"
#include "cuda/approx.cuh"
#include "cuda/map.cuh"
#include "cuda/strided.cuh"

namespace sked::cuda {
namespace {

template <class F>
struct Forward {
  __device__ float operator()(float x) const { return F::forward(x); }
  __device__ float operator()(float a, float b) const { return F::forward(a, b); }
};

template <class F>
struct Backward {
  __device__ float operator()(float x, float dy) const { return dy * F::derivative(x); }
};

template <class F>
struct TookFirst {
  __device__ float operator()(float a, float b) const { return F::took_first(a, b) ? 1.0f : 0.0f; }
};

struct Affine {
  float scale, shift;
  __device__ float operator()(float x) const { return scale * x + shift; }
};

/// 2 · n elements moved.
void unary_forward(const Tensor& x, Tensor& y, Unary op) {
  visit_device(x.dtype(), "unary_forward", [&]<class T>(T) {
    functor::visit(op, [&]<class F>(F) {
      map("unary_forward", x.numel(), Forward<ActivationAs<T, F>>{}, y.data<T>(), x.data<T>());
    });
  });
}

/// 3 · n elements moved.
void unary_backward(const Tensor& x, const Tensor& dy, Tensor& dx, Unary op) {
  visit_device(x.dtype(), "unary_backward", [&]<class T>(T) {
    functor::visit(op, [&]<class F>(F) {
      map("unary_backward", x.numel(), Backward<ActivationAs<T, F>>{}, dx.data<T>(), x.data<T>(), dy.data<T>());
    });
  });
}

/// 2 · n elements moved.
void affine(const Tensor& x, Tensor& y, double alpha, double beta) {
  const Affine f{static_cast<float>(alpha), static_cast<float>(beta)};
  visit_device(x.dtype(), "affine", [&]<class T>(T) { map("affine", x.numel(), f, y.data<T>(), x.data<T>()); });
}

// ---- two operands, broadcast ---------------------------------------------------------------------

/// N neighbors of an operand: they run along the inner axis (step 1) or are one element (step 0).
template <int N, class T, class Index>
__device__ Pack<T, N> operand(const T* x, Index at, Index step) {
  if (step != 0) return load<N>(x + at);
  Pack<T, N> same;
#pragma unroll
  for (int k = 0; k < N; ++k) same.v[k] = x[at];
  return same;
}

template <int N, class T, class Index, class F>
__global__ void broadcast_kernel(Index n, const __grid_constant__ StridedIndex<2, Index> strides, F f, const T* a,
                                 const T* b, T* y) {
  const Index i = static_cast<Index>(global_thread()) * N;
  if (i >= n) return;
  Index at[2];
  strides.locate(i, at);
  const int inner = strides.ndim - 1;
  store(y + i, map_pack<T, N>(f, operand<N>(a, at[0], strides.strides[inner][0]),
                              operand<N>(b, at[1], strides.strides[inner][1])));
}

/// May N neighbors of the output be taken at once: do they lie in one row, start at a multiple of N everywhere?
bool takes_packs(const Strided<2>& strides, int64_t N) {
  if (strides.inner() % N != 0) return false;
  for (size_t k = 0; k < 2; ++k) {
    if (strides.inner_strides()[k] == 0) continue;
    for (int axis = 0; axis + 1 < strides.ndim; ++axis)
      if (strides.strides[static_cast<size_t>(axis)][k] % N != 0) return false;
  }
  return true;
}

/// y = f(a, b) with both broadcast to y's shape. Moves y and each operand once where it fits the cache.
template <class T, class F>
void broadcast_apply(const char* where, const Tensor& a, const Tensor& b, Tensor& y, F f) {
  const int64_t n = y.numel();
  if (n == 0) return;
  const T *left = a.data<T>(), *right = b.data<T>();
  T* out = y.data<T>();
  const Strided<2> strides = strided_broadcast(y.shape(), a.shape(), b.shape());
  if (strides.ndim == 0 || a.shape() == b.shape()) return map(where, n, f, out, left, right);
  visit_index(n, [&]<class Index>(Index) {
    const StridedIndex<2, Index> device_strides(strides);
    constexpr int N = kWide<T>;
    const auto count = static_cast<Index>(n);
    if (takes_packs(strides, N) && aligned16({left, right, out})) {
      launch(where, broadcast_kernel<N, T, Index, F>, ceil_div(n, N * kThreads), kThreads, count, device_strides, f,
             left, right, out);
    } else {
      launch(where, broadcast_kernel<1, T, Index, F>, ceil_div(n, kThreads), kThreads, count, device_strides, f, left,
             right, out);
    }
  });
}

void binary_forward(const Tensor& a, const Tensor& b, Tensor& y, Binary op) {
  visit_device(a.dtype(), "binary_forward", [&]<class T>(T) {
    functor::visit(op, [&]<class F>(F) { broadcast_apply<T>("binary_forward", a, b, y, Forward<F>{}); });
  });
}

void binary_took_first(const Tensor& a, const Tensor& b, Tensor& mask, Binary op) {
  const char* where = "binary_took_first";
  visit_device(a.dtype(), where, [&]<class T>(T) {
    if (op == Binary::max) {
      broadcast_apply<T>(where, a, b, mask, TookFirst<functor::Max>{});
    } else {
      broadcast_apply<T>(where, a, b, mask, TookFirst<functor::Min>{});
    }
  });
}

[[maybe_unused]] const bool registered = kernel::unary_forward.define(Device::cuda, unary_forward) &&
                                         kernel::unary_backward.define(Device::cuda, unary_backward) &&
                                         kernel::binary_forward.define(Device::cuda, binary_forward) &&
                                         kernel::affine.define(Device::cuda, affine) &&
                                         kernel::binary_took_first.define(Device::cuda, binary_took_first);

}  // namespace
}  // namespace sked::cuda
