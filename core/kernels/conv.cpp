#include "core/kernels/conv.h"

#include "core/kernels/checks.h"

namespace sked {
namespace {

void require_conv(const Tensor& x, const Tensor& w, const Tensor& b, const Tensor& y, const Window& window,
                  const char* where) {
  require_window(window, where);
  require(x.ndim() == 4 && w.ndim() == 4, where, "expected x (N,H,W,I) and w (O,I/groups,kernel,kernel), got x ", x,
          " and w ", w);
  const int64_t I = x.dim(3), O = w.dim(0);
  require(I % window.groups == 0 && O % window.groups == 0, where, "expected channels divisible by groups ",
          window.groups, ", got x ", x, " and w ", w);
  require_shape(w, {O, I / window.groups, window.kernel, window.kernel}, where, "w");
  require_shape(y, {x.dim(0), window.output(x.dim(1)), window.output(x.dim(2)), O}, where, "y");
  require_master(x, w, where);
  require_alike(x, y, where);
  require_bias(b, O, x, where);
}

void check_forward(const char* where, const Tensor& x, const Tensor& w, const Tensor& b, const Tensor& y,
                   Window window) {
  require_conv(x, w, b, y, window, where);
}

void check_backward_input(const char* where, const Tensor& dy, const Tensor& w, const Tensor& dx, Window window) {
  require_conv(dx, w, {}, dy, window, where);
}

void check_backward_weight(const char* where, const Tensor& dy, const Tensor& x, const Tensor& dw, const Tensor& db,
                           Window window) {
  require_conv(x, dw, db, dy, window, where);
}

/// y (N,P,Q,O), w (O, I/groups, kernel, kernel).
int64_t operations(const Tensor& y, const Tensor& w) { return 2 * y.numel() * w.shape().product(1, w.ndim()); }

[[maybe_unused]] const bool counted =
    kernel::conv2d_forward.costs(
        [](const Tensor&, const Tensor& w, const Tensor&, const Tensor& y, Window) { return operations(y, w); }) &&
    kernel::conv2d_backward_input.costs(
        [](const Tensor& dy, const Tensor& w, const Tensor&, Window) { return operations(dy, w); }) &&
    kernel::conv2d_backward_weight.costs(
        [](const Tensor& dy, const Tensor&, const Tensor& dw, const Tensor&, Window) { return operations(dy, dw); });

[[maybe_unused]] const bool registered = kernel::conv2d_forward.expect(check_forward) &&
                                         kernel::conv2d_backward_input.expect(check_backward_input) &&
                                         kernel::conv2d_backward_weight.expect(check_backward_weight);

}  // namespace
}  // namespace sked
