#include "autograd/pool.h"

#include "autograd/reduce.h"
#include "autograd/shape.h"
#include "autograd/support.h"
#include "core/kernels/pool.h"

namespace sked {

namespace {

/// (N,H,W,C) -> (N,P,Q,C) under the window.
Shape windowed(const Var& x, Window window, const char* where) {
  require(x.ndim() == 4, where, "expected x (N,H,W,C), got ", x.value());
  return {x.dim(0), window.output(x.dim(1)), window.output(x.dim(2)), x.dim(3)};
}

}  // namespace

// y = max over the window: dy goes to the first maximum. Saves where that was, one byte an element.
Var max_pool2d(const Var& x, Window window) {
  const Shape shape = windowed(x, window, "max_pool2d");
  Tensor y = detail::empty(shape, x.value()), which = Tensor::empty(shape, DType::u8, x.device());
  kernel::max_pool2d_forward(x.value(), y, which, window);
  return record(y, {x}, [which, shape = x.shape(), window](const Tensor& dy) -> Grads {
    Tensor dx = detail::empty(shape, dy);
    kernel::max_pool2d_backward(dy, which, dx, window);
    return {dx};
  });
}

// y = Σ over the window / kernel²: each element gets dy / kernel² of every window it lies in.
Var avg_pool2d(const Var& x, Window window) {
  Tensor y = detail::empty(windowed(x, window, "avg_pool2d"), x.value());
  kernel::avg_pool2d_forward(x.value(), y, window);
  return record(y, {x}, [shape = x.shape(), window](const Tensor& dy) -> Grads {
    Tensor dx = detail::empty(shape, dy);
    kernel::avg_pool2d_backward(dy, dx, window);
    return {dx};
  });
}

Var global_avg_pool(const Var& x) {
  require(x.ndim() == 4, "global_avg_pool", "expected x (N,H,W,C), got ", x.value());
  return mean(reshape(x, Shape{x.dim(0), x.dim(1) * x.dim(2), x.dim(3)}), 1);
}

}  // namespace sked
