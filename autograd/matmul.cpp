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

namespace {

/// What a rule needs of an activation: its input, but of a ReLU its output, which the next op keeps anyway ([y > 0] =
/// [pre > 0]).
bool saves_input(Activation act) { return act == Activation::gelu || act == Activation::gelu_tanh; }

void check_linear(const Var& x, const Var& w, const Var& b, const char* where) {
  require_master(x.value(), w.value(), where);
  require(x.ndim() >= 1 && w.ndim() == 2 && x.dim(-1) == w.dim(1), where, "expected x (...,I) and w (O,I), got ",
          x.value(), " and ", w.value());
  if (b.defined()) require_shape(b.value(), {w.dim(0)}, where, "b");
}

}  // namespace

// pre = x wᵀ + b, y = act(pre). With g = dy act'(pre): dx = g w, dw = gᵀ x, db = Σ_n g.
// Saves x for dw, w for dx, and for g: pre under GELU, y under ReLU, because [y > 0] = [pre > 0] and the next op keeps
// y anyway.
Var linear(const Var& x, const Var& w, const Var& b, Activation act) {
  check_linear(x, w, b, "linear");
  const Tensor rows = x.value().reshape(as_rows(x.shape()));
  Tensor y = detail::empty({rows.dim(0), w.dim(0)}, rows);
  Tensor pre = saves_input(act) && detail::on_tape({x, w, b}) ? Tensor::like(y) : Tensor();
  kernel::linear_forward(rows, w.value(), detail::value_or_undefined(b), y, pre, act);

  const bool dx_needed = x.requires_grad(), dw_needed = w.requires_grad(), db_needed = b.requires_grad();
  return record(y.reshape(x.shape().with(-1, w.dim(0))), {x, w, b},
                [rows = dw_needed ? rows : Tensor(), w = dx_needed ? w.value() : Tensor(), shape = x.shape(),
                 out = act == Activation::relu ? y : pre, act, dw_shape = w.shape(), master = w.dtype(),
                 db_needed](const Tensor& dy) {
                  Tensor g = dy.reshape(as_rows(dy.shape()));
                  if (act != Activation::none) {
                    Tensor through = Tensor::like(g);
                    kernel::unary_backward(out, g, through, unary_of(act));
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

// pre = x w1ᵀ + b1, h = act(pre), y = h w2ᵀ + b2. dw2 = dyᵀ h, db2 = Σ_n dy; g = (dy w2) ⊙ act'(pre), db1 = Σ_n g; dw1
// = gᵀ x, dx = g w1. Each layer's gradients are made or not as a whole.
Var mlp(const Var& x, const Var& w1, const Var& b1, const Var& w2, const Var& b2, Activation act) {
  check_linear(x, w1, b1, "mlp");
  require(act != Activation::none && w2.ndim() == 2 && w2.dim(1) == w1.dim(0) && b1.defined() == b2.defined(), "mlp",
          "expected an activation, w2 (O,M) behind w1 (M,I) and both biases or none, got ", name(act), ", ", w1.value(),
          " and ", w2.value());
  if (b2.defined()) require_shape(b2.value(), {w2.dim(0)}, "mlp", "b2");
  const Tensor rows = x.value().reshape(as_rows(x.shape()));
  Tensor hidden = detail::empty({rows.dim(0), w1.dim(0)}, rows), y = detail::empty({rows.dim(0), w2.dim(0)}, rows);
  const bool taped = detail::on_tape({x, w1, b1, w2, b2});
  Tensor pre = saves_input(act) && taped ? Tensor::like(hidden) : Tensor(), none;
  kernel::linear_forward(rows, w1.value(), detail::value_or_undefined(b1), hidden, pre, act);
  kernel::linear_forward(hidden, w2.value(), detail::value_or_undefined(b2), y, none, Activation::none);

  const bool dx_needed = x.requires_grad(), biased = b1.defined(),
             first_needed = w1.requires_grad() || b1.requires_grad(),
             second_needed = w2.requires_grad() || b2.requires_grad();
  return record(y.reshape(x.shape().with(-1, w2.dim(0))), {x, w1, b1, w2, b2},
                [rows, w1 = w1.value(), w2 = w2.value(), hidden, pre = act == Activation::relu ? hidden : pre, act,
                 shape = x.shape(), dx_needed, biased, first_needed, second_needed](const Tensor& dy) {
                  const Tensor g2 = dy.reshape(as_rows(dy.shape()));
                  Grads grads(5);
                  if (second_needed) {
                    grads[3] = Tensor::like(w2);
                    if (biased) grads[4] = Tensor::empty({w2.dim(0)}, w2.dtype(), g2.device());
                    kernel::linear_backward_weight(g2, hidden, grads[3], grads[4]);
                  }
                  if (!first_needed && !dx_needed) return grads;
                  Tensor g1 = Tensor::like(hidden), none;
                  if (first_needed && biased) grads[2] = Tensor::empty({w1.dim(0)}, w1.dtype(), g2.device());
                  kernel::linear_backward_activation(g2, w2, pre, g1, grads[2], act);
                  if (first_needed) {
                    grads[1] = Tensor::like(w1);
                    kernel::linear_backward_weight(g1, rows, grads[1], none);
                  }
                  if (!dx_needed) return grads;
                  Tensor dx = detail::empty(rows.shape(), g1);
                  kernel::linear_backward_input(g1, w1, dx);
                  grads[0] = dx.reshape(shape);
                  return grads;
                });
}

}  // namespace sked
