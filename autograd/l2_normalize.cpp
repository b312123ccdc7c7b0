#include "autograd/l2_normalize.h"

#include "autograd/support.h"

namespace sked {

// y = x r, r = 1/sqrt(Σ_d x² + eps): dx = r (dy − y Σ_d dy y). Saves y and r.
Var l2_normalize(const Var& x, double eps) {
  require(x.ndim() >= 1, "l2_normalize", "expected x (...,D), got ", x.value());
  const Shape rows{x.shape().product(0, x.ndim() - 1), x.dim(-1)};
  Tensor y = detail::empty(rows, x.value()), r = detail::empty_statistics({rows[0]}, y);
  kernel::l2_normalize_forward(x.value().reshape(rows), y, r, eps);
  return record(y.reshape(x.shape()), {x}, [y, r, shape = x.shape()](const Tensor& dy) -> Grads {
    Tensor dx = Tensor::like(y);
    kernel::l2_normalize_backward(dy.reshape(y.shape()), y, r, dx);
    return {dx.reshape(shape)};
  });
}

}  // namespace sked
