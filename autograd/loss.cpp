#include "autograd/loss.h"

#include "autograd/elementwise.h"
#include "autograd/reduce.h"
#include "autograd/softmax.h"
#include "autograd/support.h"
#include "core/kernels/softmax.h"

namespace sked {

namespace {

/// out = op(out, b), b broadcast.
void into(Tensor& out, const Tensor& b, Binary op) { kernel::binary_forward(out, b, out, op); }

Tensor mapped(const Tensor& x, Unary op) {
  Tensor y = Tensor::like(x);
  kernel::unary_forward(x, y, op);
  return y;
}

}  // namespace

// lse = logsumexp x, loss = lse − x[label]: dx_k = dloss (exp(x_k − lse) − [k = label]). Saves x, labels and lse (N).
Var cross_entropy(const Var& x, const Tensor& labels) {
  require(x.ndim() == 2, "cross_entropy", "expected x (N,K), got ", x.value());
  require_shape(labels, {x.dim(0)}, "cross_entropy", "labels");
  Tensor loss = detail::empty({x.dim(0)}, x.value()), lse = Tensor::like(loss);
  kernel::cross_entropy_forward(x.value(), labels, loss, lse);
  return record(loss, {x}, [x = x.value(), labels, lse](const Tensor& dloss) -> Grads {
    Tensor dx = Tensor::like(x);
    kernel::cross_entropy_backward(dloss, x, labels, lse, dx);
    return {dx};
  });
}

Var soft_cross_entropy(const Var& x, const Tensor& q) {
  require(x.ndim() == 2, "soft_cross_entropy", "expected x (N,K), got ", x.value());
  require_shape(q, x.shape(), "soft_cross_entropy", "q");
  return -sum(log_softmax(x) * Var(q), -1);
}

// −[t log σ(x) + (1−t) log σ(−x)] = max(x, 0) − t x + log(1 + exp(−|x|)): no exponential overflows, and no two large
// numbers cancel where t is 0 or 1. dx = dloss (σ(x) − t). Saves x and targets.
Var sigmoid_cross_entropy(const Var& x, const Tensor& targets) {
  require(x.ndim() == 2, "sigmoid_cross_entropy", "expected x (N,K), got ", x.value());
  require_shape(targets, x.shape(), "sigmoid_cross_entropy", "targets");
  require_alike(x.value(), targets, "sigmoid_cross_entropy");
  Tensor terms = mapped(x.value(), Unary::abs);
  kernel::unary_forward(terms, terms, Unary::neg);
  kernel::unary_forward(terms, terms, Unary::softplus);
  Tensor linear = mapped(x.value(), Unary::relu), tx = Tensor::like(linear);
  kernel::binary_forward(x.value(), targets, tx, Binary::mul);
  into(linear, tx, Binary::sub);
  into(terms, linear, Binary::add);
  Tensor loss = detail::empty({x.dim(0)}, terms);
  kernel::reduce_forward(terms, loss, Reduce::sum, detail::view_of(x.shape(), 1));
  return record(loss, {x}, [x = x.value(), targets](const Tensor& dloss) -> Grads {
    Tensor dx = mapped(x, Unary::sigmoid);
    into(dx, targets, Binary::sub);
    into(dx, dloss.reshape(Shape{x.dim(0), 1}), Binary::mul);
    return {dx};
  });
}

}  // namespace sked
