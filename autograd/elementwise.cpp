#include "autograd/elementwise.h"

#include "autograd/support.h"
#include "core/kernels/memory.h"

namespace sked {

namespace {

Tensor apply(const Tensor& a, const Tensor& b, Binary op) {
  Tensor y = detail::empty(broadcast(a.shape(), b.shape()), a);
  kernel::binary_forward(a, b, y, op);
  return y;
}

Tensor scaled(const Tensor& x, double alpha, double beta = 0) {
  Tensor y = Tensor::like(x);
  kernel::affine(x, y, alpha, beta);
  return y;
}

Tensor checked_apply(const Var& a, const Var& b, Binary op) {
  require_alike(a.value(), b.value(), name(op));
  return apply(a.value(), b.value(), op);
}

/// `x` where a rule needs it for the gradient of something, else nothing: what is not needed is not kept alive.
Tensor saved(bool needed, const Tensor& x) { return needed ? x : Tensor(); }

/// y = max(a, b) or min(a, b), m = [a was taken]: da = dy m, db = dy − dy m.
Var extremum(const Var& a, const Var& b, Binary op) {
  Tensor y = checked_apply(a, b, op);
  return record(y, {a, b},
                [a = a.value(), b = b.value(), da_needed = a.requires_grad(), db_needed = b.requires_grad(),
                 op](const Tensor& dy) -> Grads {
                  Tensor taken = Tensor::like(dy);
                  kernel::binary_took_first(a, b, taken, op);
                  kernel::binary_forward(dy, taken, taken, Binary::mul);  // dy m
                  return {da_needed ? sum_to(taken, a.shape()) : Tensor(),
                          db_needed ? sum_to(apply(dy, taken, Binary::sub), b.shape()) : Tensor()};
                });
}

}  // namespace

// y = f(x); dx = dy f'(x). ReLU saves y instead of x, because [y > 0] = [x > 0] and the next op keeps y anyway.
Var unary(const Var& x, Unary op) {
  Tensor y = Tensor::like(x.value());
  kernel::unary_forward(x.value(), y, op);
  return record(y, {x}, [x = op == Unary::relu ? y : x.value(), op](const Tensor& dy) -> Grads {
    Tensor dx = Tensor::like(dy);
    kernel::unary_backward(x, dy, dx, op);
    return {dx};
  });
}

// y = a + b: da = dy, db = dy. Saves nothing; without broadcasting both gradients are dy itself.
Var operator+(const Var& a, const Var& b) {
  return record(checked_apply(a, b, Binary::add), {a, b},
                [a = a.shape(), b = b.shape(), da_needed = a.requires_grad(),
                 db_needed = b.requires_grad()](const Tensor& dy) -> Grads {
                  return {da_needed ? sum_to(dy, a) : Tensor(), db_needed ? sum_to(dy, b) : Tensor()};
                });
}

// y = a − b: da = dy, db = −dy. Saves nothing.
Var operator-(const Var& a, const Var& b) {
  return record(checked_apply(a, b, Binary::sub), {a, b},
                [a = a.shape(), b = b.shape(), da_needed = a.requires_grad(),
                 db_needed = b.requires_grad()](const Tensor& dy) -> Grads {
                  return {da_needed ? sum_to(dy, a) : Tensor(), db_needed ? scaled(sum_to(dy, b), -1) : Tensor()};
                });
}

// y = a b: da = dy b, db = dy a. Saves the factor that the other one's gradient needs.
Var operator*(const Var& a, const Var& b) {
  const bool da_needed = a.requires_grad(), db_needed = b.requires_grad();
  return record(checked_apply(a, b, Binary::mul), {a, b},
                [a = saved(db_needed, a.value()), b = saved(da_needed, b.value()), a_shape = a.shape(),
                 b_shape = b.shape(), da_needed, db_needed](const Tensor& dy) -> Grads {
                  return {da_needed ? sum_to(apply(dy, b, Binary::mul), a_shape) : Tensor(),
                          db_needed ? sum_to(apply(dy, a, Binary::mul), b_shape) : Tensor()};
                });
}

// y = a / b: da = dy / b, db = −da y. Saves b, and y where b needs a gradient.
Var operator/(const Var& a, const Var& b) {
  const Tensor y = checked_apply(a, b, Binary::div);
  const bool da_needed = a.requires_grad(), db_needed = b.requires_grad();
  return record(
      y, {a, b},
      [y = saved(db_needed, y), b = b.value(), a_shape = a.shape(), da_needed, db_needed](const Tensor& dy) -> Grads {
        const Tensor quotient = apply(dy, b, Binary::div);
        const Tensor da = da_needed ? sum_to(quotient, a_shape) : Tensor();
        if (!db_needed) return {da, {}};
        return {da, scaled(sum_to(apply(quotient, y, Binary::mul), b.shape()), -1)};
      });
}

Var maximum(const Var& a, const Var& b) { return extremum(a, b, Binary::max); }
Var minimum(const Var& a, const Var& b) { return extremum(a, b, Binary::min); }

// y = x rounded to another dtype: dx = dy in x's. Saves nothing.
Var cast(const Var& x, DType dtype) {
  require(is_floating(dtype), "cast", "expected a floating dtype, got ", dtype);
  if (x.dtype() == dtype) return x;
  return record(x.value().to(dtype), {x}, [from = x.dtype()](const Tensor& dy) -> Grads { return {dy.to(from)}; });
}

// y = alpha x + beta: dx = alpha dy. Saves nothing.
Var affine(const Var& x, double alpha, double beta) {
  return record(scaled(x.value(), alpha, beta), {x},
                [alpha](const Tensor& dy) -> Grads { return {alpha == 1 ? dy : scaled(dy, alpha)}; });
}

}  // namespace sked
