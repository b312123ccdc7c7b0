#include "autograd/matmul.h"

#include "autograd/shape.h"
#include "autograd/support.h"
#include "core/kernels/matmul.h"

namespace sked {

namespace {

/// a's shape with its last two axes replaced.
Shape with_matrix(const Shape& a, int64_t rows, int64_t columns) { return a.with(-2, rows).with(-1, columns); }

Tensor product(const Tensor& a, const Tensor& b, const Shape& shape, bool transpose_a, bool transpose_b) {
  Tensor c = detail::empty(shape, a);
  kernel::matmul(a, b, c, transpose_a, transpose_b, false);
  return c;
}

/// Rows of all leading axes as one: (…, D) -> (N, D).
Shape as_rows(const Shape& shape) { return {shape.product(0, shape.ndim() - 1), shape[-1]}; }

/// One matrix b for the whole batch of a is one product of all of a's rows.
Var matmul_shared(const Var& a, const Var& b, bool transpose_a, bool transpose_b) {
  const Var rows = transpose_a ? transpose(a) : a;
  const Var y = matmul(reshape(rows, as_rows(rows.shape())), b, false, transpose_b);
  return reshape(y, rows.shape().with(-1, y.dim(1)));
}

void check_matmul(const Var& a, const Var& b, bool transpose_a, bool transpose_b) {
  require_alike(a.value(), b.value(), "matmul");
  require(a.ndim() >= 2 && b.ndim() >= 2, "matmul", "expected two matrices, got ", a.value(), " and ", b.value());
  const bool leading =
      b.ndim() == 2 || (a.ndim() == b.ndim() && with_matrix(a.shape(), 1, 1) == with_matrix(b.shape(), 1, 1));
  require(leading, "matmul", "expected equal leading axes or one matrix b, got ", a.value(), " and ", b.value());
  require(a.dim(transpose_a ? -2 : -1) == b.dim(transpose_b ? -1 : -2), "matmul",
          "expected inner extents to agree, got ", a.value(), transpose_a ? " transposed" : "", " and ", b.value(),
          transpose_b ? " transposed" : "");
}

}  // namespace

// y = A B with A = op(a), B = op(b): dA = dy Bᵀ, dB = Aᵀ dy; where op transposes, da = dAᵀ = B dyᵀ and db = dBᵀ = dyᵀ
// A. Saves what the other operand's gradient needs.
Var matmul(const Var& a, const Var& b, bool transpose_a, bool transpose_b) {
  check_matmul(a, b, transpose_a, transpose_b);
  if (a.ndim() > 2 && b.ndim() == 2) return matmul_shared(a, b, transpose_a, transpose_b);
  const bool ta = transpose_a, tb = transpose_b, da_needed = a.requires_grad(), db_needed = b.requires_grad();
  const Shape shape = with_matrix(a.shape(), a.dim(ta ? -1 : -2), b.dim(tb ? -2 : -1));
  return record(product(a.value(), b.value(), shape, ta, tb), {a, b},
                [a = db_needed ? a.value() : Tensor(), b = da_needed ? b.value() : Tensor(), a_shape = a.shape(),
                 b_shape = b.shape(), ta, tb](const Tensor& dy) {
                  Grads grads(2);
                  if (b.defined())
                    grads[0] = ta ? product(b, dy, a_shape, tb, true) : product(dy, b, a_shape, false, !tb);
                  if (a.defined())
                    grads[1] = tb ? product(dy, a, b_shape, true, ta) : product(a, dy, b_shape, !ta, false);
                  return grads;
                });
}

// pre = x wᵀ + b, y = act(pre). With g = dy act'(pre): dx = g w, dw = gᵀ x, db = Σ_n g.
// Saves x for dw, w for dx, and for g: pre under GELU, y under ReLU, because [y > 0] = [pre > 0] and the next op keeps
// y anyway.
Var linear(const Var& x, const Var& w, const Var& b, Activation act) {
  require_master(x.value(), w.value(), "linear");
  require(x.ndim() >= 1 && w.ndim() == 2 && x.dim(-1) == w.dim(1), "linear", "expected x (…,I) and w (O,I), got ",
          x.value(), " and ", w.value());
  if (b.defined()) require_shape(b.value(), {w.dim(0)}, "linear", "b");
  const Tensor rows = x.value().reshape(as_rows(x.shape()));
  Tensor y = detail::empty({rows.dim(0), w.dim(0)}, rows);
  Tensor pre = act == Activation::gelu && detail::on_tape({x, w, b}) ? Tensor::like(y) : Tensor();
  kernel::linear_forward(rows, w.value(), b.defined() ? b.value() : Tensor(), y, pre, act);

  const bool dx_needed = x.requires_grad(), dw_needed = w.requires_grad(), db_needed = b.requires_grad();
  return record(y.reshape(x.shape().with(-1, w.dim(0))), {x, w, b},
                [rows = dw_needed ? rows : Tensor(), w = dx_needed ? w.value() : Tensor(), shape = x.shape(),
                 out = act == Activation::relu ? y : pre, act, dw_shape = w.shape(), master = w.dtype(),
                 db_needed](const Tensor& dy) {
                  Tensor g = dy.reshape(as_rows(dy.shape()));
                  if (act != Activation::none) {
                    Tensor through = Tensor::like(g);
                    kernel::unary_backward(out, g, through, act == Activation::relu ? Unary::relu : Unary::gelu);
                    g = through;
                  }
                  Grads grads(3);
                  if (db_needed && !rows.defined()) grads[2] = sum_to(g, {dw_shape[0]}).to(master);
                  if (db_needed && rows.defined()) grads[2] = Tensor::empty({dw_shape[0]}, master, g.device());
                  if (rows.defined()) {
                    grads[1] = Tensor::empty(dw_shape, master, g.device());
                    kernel::linear_backward_weight(g, rows, grads[1], grads[2]);
                  }
                  if (w.defined()) {
                    Tensor dx = detail::empty({g.dim(0), w.dim(1)}, g);
                    kernel::linear_backward_input(g, w, dx);
                    grads[0] = dx.reshape(shape);
                  }
                  return grads;
                });
}

}  // namespace sked
