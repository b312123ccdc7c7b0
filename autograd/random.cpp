#include "autograd/random.h"

#include "core/kernels/random.h"

namespace sked {

namespace {

/// y = x m with a mask m that is a function of address and place, so dx = dy m is the same kernel. Saves these only.
template <class MaskKernel>
Var masked(const Var& x, double p, const RngAddress& address, int64_t first, const MaskKernel& mask,
           const char* where) {
  require(p >= 0 && p < 1, where, "expected 0 <= p < 1, got ", p);
  if (p == 0) return x;
  Tensor y = Tensor::like(x.value());
  mask(x.value(), y, address, first, p);
  return record(y, {x}, [address, first, p, &mask](const Tensor& dy) -> Grads {
    Tensor dx = Tensor::like(dy);
    mask(dy, dx, address, first, p);
    return {dx};
  });
}

}  // namespace

Var dropout(const Var& x, double p, const RngAddress& address, int64_t first_row) {
  const int64_t row = x.ndim() > 0 ? x.shape().product(1, x.ndim()) : 1;
  return masked(x, p, address, first_row * row, kernel::dropout, "dropout");
}

Var drop_path(const Var& x, double p, const RngAddress& address, int64_t first_row) {
  return masked(x, p, address, first_row, kernel::drop_path, "drop_path");
}

}  // namespace sked
