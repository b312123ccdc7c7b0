#include "autograd/random.h"

#include "core/kernels/random.h"

namespace sked {

namespace {

/// y = x m with a mask m that is a function of the address, so dx = dy m is the same kernel. Saves the address only.
template <class MaskKernel>
Var masked(const Var& x, double p, const RngAddress& address, const MaskKernel& mask, const char* where) {
  require(p >= 0 && p < 1, where, "expected 0 <= p < 1, got ", p);
  if (p == 0) return x;
  Tensor y = Tensor::like(x.value());
  mask(x.value(), y, address, p);
  return record(y, {x}, [address, p, &mask](const Tensor& dy) -> Grads {
    Tensor dx = Tensor::like(dy);
    mask(dy, dx, address, p);
    return {dx};
  });
}

}  // namespace

Var dropout(const Var& x, double p, const RngAddress& address) {
  return masked(x, p, address, kernel::dropout, "dropout");
}

Var drop_path(const Var& x, double p, const RngAddress& address) {
  return masked(x, p, address, kernel::drop_path, "drop_path");
}

}  // namespace sked
