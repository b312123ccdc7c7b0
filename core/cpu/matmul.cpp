// Definitions of the matrix products; their arithmetic is in gemm.cpp.

#include "core/kernels/matmul.h"

#include "core/cpu/epilogue.h"
#include "core/cpu/gemm.h"
#include "core/cpu/rows.h"

namespace sked::cpu {
namespace {

void matmul(const Tensor& a, const Tensor& b, Tensor& c, bool transpose_a, bool transpose_b, bool accumulate) {
  const MatmulSizes s = matmul_sizes(a, b, c, transpose_a);
  visit_float(c.dtype(), "matmul", [&]<class T>(T) {
    const MatrixView<T> left{a.data<T>(), transpose_a ? 1 : s.Q, transpose_a ? s.M : 1};
    const MatrixView<T> right{b.data<T>(), transpose_b ? 1 : s.N, transpose_b ? s.Q : 1};
    gemm<T>(s.M, s.N, s.Q, left, right, c.data<T>(), s.N, accumulate,
            {s.batch, s.M * s.Q, s.shared_b ? 0 : s.Q * s.N, s.M * s.N});
  });
}

void linear_forward(const Tensor& x, const Tensor& w, const Tensor& b, Tensor& y, Tensor& pre, Activation act) {
  const LinearSizes s = linear_sizes(x, w);
  Tensor& z = product_target(y, pre, act);
  visit_float(x.dtype(), "linear_forward", [&]<class T>(T) {
    T* product = z.data<T>();
    gemm<T>(s.N, s.O, s.I, {x.data<T>(), s.I, 1}, {w.data<T>(), 1, s.I}, product, s.O, false);
    finish_linear(product, b.defined() ? b.data<T>() : nullptr, s.N, s.O, y.data<T>(), act);
  });
}

void linear_backward_input(const Tensor& dy, const Tensor& w, Tensor& dx) {
  const LinearSizes s = linear_sizes(dx, w);
  visit_float(dy.dtype(), "linear_backward_input", [&]<class T>(T) {
    gemm<T>(s.N, s.I, s.O, {dy.data<T>(), s.O, 1}, {w.data<T>(), s.I, 1}, dx.data<T>(), s.I, false);
  });
}

void linear_backward_weight(const Tensor& dy, const Tensor& x, Tensor& dw, Tensor& db) {
  const LinearSizes s = linear_sizes(x, dw);
  visit_float(dy.dtype(), "linear_backward_weight", [&]<class T>(T) {
    gemm<T>(s.O, s.I, s.N, {dy.data<T>(), 1, s.O}, {x.data<T>(), s.I, 1}, dw.data<T>(), s.I, false);
    if (db.defined()) sum_rows(dy.data<T>(), s.N, s.O, db.data<T>());
  });
}

/// dx (N,I) ← dx ⊙ act'(pre), and db (I), unless null, its sums over rows, in one pass.
template <class T, class Sum>
void backward_activation(const T* pre, int64_t N, int64_t I, T* dx, Sum* db, Activation act) {
  functor::visit(act, [=](auto f) {
    sum_over_rows(N, db ? I : 0, db, [=](int64_t begin, int64_t end, Arithmetic<Sum>* sums) {
      for (int64_t n = begin; n < end; ++n) {
        const T* at = pre + n * I;
        T* row = dx + n * I;
#pragma omp simd
        for (int64_t i = 0; i < I; ++i) {
          const auto g = static_cast<Arithmetic<T>>(row[i]) * f.derivative(static_cast<Arithmetic<T>>(at[i]));
          store(g, row[i]);
          if (db) sums[i] += static_cast<Arithmetic<Sum>>(g);
        }
      }
    });
  });
}

/// The product by its own kernel, tuned where it is; the activation's derivative over it in place.
void linear_backward_activation(const Tensor& dy, const Tensor& w, const Tensor& pre, Tensor& dx, Tensor& db,
                                Activation act) {
  const char* where = "linear_backward_activation";
  const LinearSizes s = linear_sizes(dx, w);
  kernel::linear_backward_input(dy, w, dx);
  visit_stored(dx.dtype(), where, [&]<class T>(T) {
    visit_stored(db.defined() ? db.dtype() : dx.dtype(), where, [&]<class Sum>(Sum) {
      backward_activation(pre.data<T>(), s.N, s.I, dx.data<T>(), db.defined() ? db.data<Sum>() : nullptr, act);
    });
  });
}

[[maybe_unused]] const bool registered =
    kernel::matmul.define(Device::cpu, matmul) && kernel::linear_forward.define(Device::cpu, linear_forward) &&
    kernel::linear_backward_input.define(Device::cpu, linear_backward_input) &&
    kernel::linear_backward_weight.define(Device::cpu, linear_backward_weight) &&
    kernel::linear_backward_activation.define(Device::cpu, linear_backward_activation, true);

}  // namespace
}  // namespace sked::cpu
