#include "core/kernels/pool.h"

namespace sked {
namespace {

void require_pool(const Tensor& x, const Tensor& y, const Window& window, const char* where) {
  require_window(window, where);
  require(window.kernel <= 15 && window.padding < window.kernel && window.groups == 1, where,
          "expected kernel <= 15, padding < kernel and one group, got kernel ", window.kernel, ", padding ",
          window.padding, ", groups ", window.groups);
  require(x.ndim() == 4, where, "expected x (N,H,W,C), got ", x);
  require_shape(y, {x.dim(0), window.output(x.dim(1)), window.output(x.dim(2)), x.dim(3)}, where, "y");
  require_alike(x, y, where);
}

void require_which(const Tensor& which, const Tensor& y, const char* where) {
  require_shape(which, y.shape(), where, "which");
  require(which.dtype() == DType::u8 && which.device() == y.device(), where, "expected which in u8 on ", y.device(),
          ", got ", which);
}

void check_max_forward(const char* where, const Tensor& x, const Tensor& y, const Tensor& which, Window window) {
  require_pool(x, y, window, where);
  require_which(which, y, where);
}

void check_max_backward(const char* where, const Tensor& dy, const Tensor& which, const Tensor& dx, Window window) {
  require_pool(dx, dy, window, where);
  require_which(which, dy, where);
}

void check_avg_forward(const char* where, const Tensor& x, const Tensor& y, Window window) {
  require_pool(x, y, window, where);
}

void check_avg_backward(const char* where, const Tensor& dy, const Tensor& dx, Window window) {
  require_pool(dx, dy, window, where);
}

[[maybe_unused]] const bool registered =
    kernel::max_pool2d_forward.expect(check_max_forward) && kernel::max_pool2d_backward.expect(check_max_backward) &&
    kernel::avg_pool2d_forward.expect(check_avg_forward) && kernel::avg_pool2d_backward.expect(check_avg_backward);

}  // namespace
}  // namespace sked
