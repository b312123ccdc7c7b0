#include "core/kernels/l2_normalize.h"

namespace sked {
namespace {

void check_forward(const char* where, const Tensor& x, const Tensor& y, const Tensor& r, double) {
  require(x.ndim() == 2 && x.dim(1) >= 1, where, "expected rows (N,D) with D >= 1, got ", x);
  require_shape(y, x.shape(), where, "a tensor of the rows' shape");
  require_alike(x, y, where);
  require_shape(r, {x.dim(0)}, where, "r");
  require_master(x, r, where);
}

void check_backward(const char* where, const Tensor& dy, const Tensor& y, const Tensor& r, const Tensor& dx) {
  check_forward(where, y, dy, r, 0);
  check_forward(where, y, dx, r, 0);
}

[[maybe_unused]] const bool registered =
    kernel::l2_normalize_forward.expect(check_forward) && kernel::l2_normalize_backward.expect(check_backward);

}  // namespace
}  // namespace sked
