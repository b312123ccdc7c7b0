#include "autograd/softmax.h"

#include "core/kernels/softmax.h"

namespace sked {

// y = exp(x − logsumexp x): dx = y (dy − Σ dy y). Saves y.
Var softmax(const Var& x) {
  Tensor y = Tensor::like(x.value());
  kernel::softmax_forward(x.value(), y);
  return record(y, {x}, [y](const Tensor& dy) -> Grads {
    Tensor dx = Tensor::like(y);
    kernel::softmax_backward(dy, y, dx);
    return {dx};
  });
}

// y = x − logsumexp x: dx = dy − exp(y) Σ dy. Saves y.
Var log_softmax(const Var& x) {
  Tensor y = Tensor::like(x.value());
  kernel::log_softmax_forward(x.value(), y);
  return record(y, {x}, [y](const Tensor& dy) -> Grads {
    Tensor dx = Tensor::like(y);
    kernel::log_softmax_backward(dy, y, dx);
    return {dx};
  });
}

}  // namespace sked
