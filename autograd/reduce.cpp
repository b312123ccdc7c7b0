#include "autograd/reduce.h"

#include <cmath>

#include "autograd/elementwise.h"
#include "autograd/support.h"
#include "core/kernels/memory.h"
#include "core/kernels/softmax.h"

namespace sked {

namespace {

/// The result's shape, and the same with the reduced axis kept as 1: what dy is read as when it is broadcast back.
struct Reduced {
  Shape shape, kept;
};

Reduced reduced(const Shape& shape, int axis, bool keep_dims) {
  const Shape kept = shape.with(axis, 1);
  return {keep_dims ? kept : shape.without(axis), kept};
}

Tensor reduce(const Tensor& x, const Shape& shape, Reduce op, ReduceView view) {
  Tensor y = detail::empty(shape, x);
  kernel::reduce_forward(x, y, op, view);
  return y;
}

/// scale dy, repeated to `shape`. The product is taken first, where it is small.
Tensor spread(const Tensor& dy, const Shape& kept, const Shape& shape, double scale) {
  Tensor small = dy.reshape(kept);
  if (scale != 1) {
    Tensor product = Tensor::like(small);
    kernel::affine(small, product, scale, 0);
    small = product;
  }
  if (kept == shape) return small;
  Tensor dx = detail::empty(shape, dy);
  kernel::broadcast_to(small, dx);
  return dx;
}

/// y = Σ x or mean x: dx = scale dy broadcast back, scale = 1 or 1/n. Saves only x's shape.
Var reduce_linear(const Var& x, Reduced to, Reduce op, ReduceView view) {
  const double scale = op == Reduce::mean ? 1.0 / static_cast<double>(view.n) : 1;
  return record(reduce(x.value(), to.shape, op, view), {x},
                [shape = x.shape(), kept = to.kept, scale](const Tensor& dy) -> Grads {
                  return {spread(dy, kept, shape, scale)};
                });
}

ReduceView whole(const Var& x) { return {1, x.numel(), 1}; }

}  // namespace

Var sum(const Var& x) { return reduce_linear(x, {}, Reduce::sum, whole(x)); }
Var mean(const Var& x) { return reduce_linear(x, {}, Reduce::mean, whole(x)); }

Var sum(const Var& x, int axis, bool keep_dims) {
  return reduce_linear(x, reduced(x.shape(), axis, keep_dims), Reduce::sum, detail::view_of(x.shape(), axis));
}
Var mean(const Var& x, int axis, bool keep_dims) {
  return reduce_linear(x, reduced(x.shape(), axis, keep_dims), Reduce::mean, detail::view_of(x.shape(), axis));
}

// y = max_i x_i: dx_i = dy [x_i = y] / (number of ties). Saves x and y.
Var max(const Var& x, int axis, bool keep_dims) {
  const ReduceView view = detail::view_of(x.shape(), axis);
  const Tensor y = reduce(x.value(), reduced(x.shape(), axis, keep_dims).shape, Reduce::max, view);
  return record(y, {x}, [x = x.value(), y, view](const Tensor& dy) -> Grads {
    Tensor dx = Tensor::like(x);
    kernel::reduce_max_backward(x, y, dy, dx, view);
    return {dx};
  });
}

// y = log Σ_i exp x_i: dx_i = dy exp(x_i − y). Saves x and y; the kernel subtracts the maximum first.
Var logsumexp(const Var& x, int axis, bool keep_dims) {
  const ReduceView view = detail::view_of(x.shape(), axis);
  Tensor y = detail::empty(reduced(x.shape(), axis, keep_dims).shape, x.value());
  kernel::logsumexp_forward(x.value(), y, view);
  return record(y, {x}, [x = x.value(), y, view](const Tensor& dy) -> Grads {
    Tensor dx = Tensor::like(x);
    kernel::logsumexp_backward(x, y, dy, dx, view);
    return {dx};
  });
}

Var logmeanexp(const Var& x, int axis, bool keep_dims) {
  const int64_t n = x.dim(axis);
  require(n > 0, "logmeanexp", "expected an axis with elements, got axis ", axis, " of ", x.value());
  return logsumexp(x, axis, keep_dims) - std::log(static_cast<double>(n));
}

}  // namespace sked
