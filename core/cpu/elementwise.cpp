#include "core/kernels/elementwise.h"

#include <type_traits>

#include "core/cpu/parallel.h"
#include "core/kernels/functors.h"
#include "core/kernels/strided.h"

namespace sked::cpu {
namespace {

void unary_forward(const Tensor& x, Tensor& y, Unary op) {
  visit_stored(x.dtype(), "unary_forward", [&](auto type) {
    using T = decltype(type);
    const T* in = x.data<T>();
    T* out = y.data<T>();
    functor::visit(op, [&](auto f) {
      parallel_ranges(x.numel(), kHeavy, [=](int64_t begin, int64_t end) {
#pragma omp simd
        for (int64_t i = begin; i < end; ++i) store(f.forward(Arithmetic<T>(in[i])), out[i]);
      });
    });
  });
}

void unary_backward(const Tensor& x, const Tensor& dy, Tensor& dx, Unary op) {
  visit_stored(x.dtype(), "unary_backward", [&](auto type) {
    using T = decltype(type);
    const T* in = x.data<T>();
    const T* upstream = dy.data<T>();
    T* out = dx.data<T>();
    functor::visit(op, [&](auto f) {
      parallel_ranges(x.numel(), kHeavy, [=](int64_t begin, int64_t end) {
#pragma omp simd
        for (int64_t i = begin; i < end; ++i)
          store(Arithmetic<T>(upstream[i]) * f.derivative(Arithmetic<T>(in[i])), out[i]);
      });
    });
  });
}

void affine(const Tensor& x, Tensor& y, double alpha, double beta) {
  visit_stored(x.dtype(), "affine", [&](auto type) {
    using T = decltype(type);
    const T* in = x.data<T>();
    T* out = y.data<T>();
    const auto scale = static_cast<Arithmetic<T>>(alpha), shift = static_cast<Arithmetic<T>>(beta);
    parallel_ranges(x.numel(), kLight, [=](int64_t begin, int64_t end) {
#pragma omp simd
      for (int64_t i = begin; i < end; ++i) store(scale * Arithmetic<T>(in[i]) + shift, out[i]);
    });
  });
}

// ---- two operands --------------------------------------------------------------------------------

/// y[i] = f(a[i], b[i]) on one piece of a row. With neighboring axes merged, an operand either runs along the row
/// (step 1) or stands still (step 0): equal shapes, a scalar, a row vector and a column all end in one of these three
/// loops.
template <class T, class F>
void binary_piece(const T* a, int64_t a_step, const T* b, int64_t b_step, T* y, int64_t count, F f) {
  using A = Arithmetic<T>;
  if (a_step == b_step) {
#pragma omp simd
    for (int64_t i = 0; i < count; ++i) store(f(A(a[i]), A(b[i])), y[i]);
  } else if (b_step == 0) {
    const A fixed(*b);
#pragma omp simd
    for (int64_t i = 0; i < count; ++i) store(f(A(a[i]), fixed), y[i]);
  } else {
    const A fixed(*a);
#pragma omp simd
    for (int64_t i = 0; i < count; ++i) store(f(fixed, A(b[i])), y[i]);
  }
}

/// y = f(a, b) with both operands broadcast to y's shape.
template <class T, class F>
void binary_apply(const Tensor& a, const Tensor& b, Tensor& y, F f) {
  if (y.numel() == 0) return;
  const auto strides = strided_broadcast(y.shape(), a.shape(), b.shape());
  const auto step = strides.inner_strides();
  const T* left = a.data<T>();
  const T* right = b.data<T>();
  T* out = y.data<T>();
  parallel_ranges(y.numel(), kLight, [&](int64_t begin, int64_t end) {
    strides.for_each_piece(begin, end, [&](int64_t first, int64_t count, const auto& at) {
      binary_piece(left + at[0], step[0], right + at[1], step[1], out + first, count, f);
    });
  });
}

void binary_forward(const Tensor& a, const Tensor& b, Tensor& y, Binary op) {
  visit_stored(a.dtype(), "binary_forward", [&](auto type) {
    using T = decltype(type);
    using A = Arithmetic<T>;
    functor::visit(op, [&](auto f) { binary_apply<T>(a, b, y, [=](A p, A q) { return f.forward(p, q); }); });
  });
}

void binary_took_first(const Tensor& a, const Tensor& b, Tensor& mask, Binary op) {
  visit_stored(a.dtype(), "binary_took_first", [&](auto type) {
    using T = decltype(type);
    using A = Arithmetic<T>;
    if (op == Binary::max) {
      binary_apply<T>(a, b, mask, [](A p, A q) { return functor::Max::took_first(p, q) ? A{1} : A{0}; });
    } else {
      binary_apply<T>(a, b, mask, [](A p, A q) { return functor::Min::took_first(p, q) ? A{1} : A{0}; });
    }
  });
}

const bool registered = kernel::unary_forward.define(Device::cpu, unary_forward, true) &&
                        kernel::unary_backward.define(Device::cpu, unary_backward, true) &&
                        kernel::binary_forward.define(Device::cpu, binary_forward, true) &&
                        kernel::affine.define(Device::cpu, affine, true) &&
                        kernel::binary_took_first.define(Device::cpu, binary_took_first, true);

}  // namespace
}  // namespace sked::cpu
