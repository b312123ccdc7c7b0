#include "autograd/conv.h"

#include "autograd/support.h"

namespace sked {

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
  const Shape shape{x.dim(0), window.output(x.dim(1)), window.output(x.dim(2)), w.dim(0)};
  Tensor y = detail::empty(shape, x.value());
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

}  // namespace sked
