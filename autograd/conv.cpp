#include "autograd/conv.h"

#include "autograd/reduce.h"
#include "autograd/shape.h"
#include "autograd/support.h"

namespace sked {

namespace {

/// (N,H,W,C) -> (N,P,Q,channels) under the window.
Shape windowed(const Var& x, Window window, int64_t channels, const char* where) {
  require(x.ndim() == 4, where, "expected x (N,H,W,C), got ", x.value());
  return {x.dim(0), window.output(x.dim(1)), window.output(x.dim(2)), channels};
}

}  // namespace

// y = x ⋆ w + b: dx = the transposed convolution of dy with w, dw = the correlation of x with dy, db = Σ_{n,p,q} dy.
// Saves x for dw and w for dx.
Var conv2d(const Var& x, const Var& w, const Var& b, Window window) {
  require_master(x.value(), w.value(), "conv2d");
  require(x.ndim() == 4 && window.groups >= 1, "conv2d", "expected x (N,H,W,I) and groups >= 1, got ", x.value(),
          " and ", window.groups);
  require(x.dim(3) % window.groups == 0 && w.ndim() == 4 && w.dim(0) % window.groups == 0, "conv2d", "expected ",
          window.groups, " groups to divide the channels, got x ", x.value(), " and w ", w.value());
  require_shape(w.value(), {w.dim(0), x.dim(3) / window.groups, window.kernel, window.kernel}, "conv2d", "w");
  if (b.defined()) require_shape(b.value(), {w.dim(0)}, "conv2d", "b");
  Tensor y = detail::empty(windowed(x, window, w.dim(0), "conv2d"), x.value());
  kernel::conv2d_forward(x.value(), w.value(), detail::value_or_undefined(b), y, window);

  const bool dx_needed = x.requires_grad(), dw_needed = w.requires_grad(), db_needed = b.requires_grad();
  return record(y, {x, w, b},
                [x = dw_needed ? x.value() : Tensor(), w = dx_needed ? w.value() : Tensor(), x_shape = x.shape(),
                 w_shape = w.shape(), master = w.dtype(), db_needed, window](const Tensor& dy) {
                  const Shape channels{w_shape[0]};
                  Grads grads(3);
                  if (db_needed && !x.defined()) grads[2] = sum_to(dy, channels).to(master);
                  if (db_needed && x.defined()) grads[2] = Tensor::empty(channels, master, dy.device());
                  if (x.defined()) {
                    grads[1] = Tensor::empty(w_shape, master, dy.device());
                    kernel::conv2d_backward_weight(dy, x, grads[1], grads[2], window);
                  }
                  if (w.defined()) {
                    grads[0] = detail::empty(x_shape, dy);
                    kernel::conv2d_backward_input(dy, w, grads[0], window);
                  }
                  return grads;
                });
}

// y = max over the window: dy goes to the first maximum. Saves where that was, one byte an element.
Var max_pool2d(const Var& x, Window window) {
  const Shape shape = windowed(x, window, x.dim(-1), "max_pool2d");
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
  Tensor y = detail::empty(windowed(x, window, x.dim(-1), "avg_pool2d"), x.value());
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
