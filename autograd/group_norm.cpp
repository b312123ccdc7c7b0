#include "autograd/group_norm.h"

#include "autograd/support.h"
#include "core/kernels/group_norm.h"

namespace sked {

// As layer norm, with mean and rstd of one image and group, over its P positions and C/groups channels.
Var group_norm(const Var& x, const Var& gamma, const Var& beta, int64_t groups, double eps) {
  require(x.ndim() >= 3, "group_norm", "expected x (N,H,W,C) or (N,P,C), got ", x.value());
  detail::check_scale_shift(gamma, beta, x, "group_norm");
  require(groups >= 1 && x.dim(-1) % groups == 0, "group_norm", "expected groups that divide the channels of ",
          x.value(), ", got ", groups);
  const Shape positions{x.dim(0), x.shape().product(1, x.ndim() - 1), x.dim(-1)};
  Tensor y = detail::empty(positions, x.value()), mean = detail::empty_statistics({x.dim(0), groups}, y),
         rstd = Tensor::like(mean);
  kernel::group_norm_forward(x.value().reshape(positions), gamma.value(), beta.value(), y, mean, rstd, groups, eps);
  return record(y.reshape(x.shape()), {x, gamma, beta},
                [x = x.value(), gamma = gamma.value(), mean, rstd, positions, groups](const Tensor& dy) -> Grads {
                  Tensor dx = detail::empty(positions, x), dgamma = Tensor::like(gamma), dbeta = Tensor::like(gamma);
                  kernel::group_norm_backward(dy.reshape(positions), x.reshape(positions), gamma, mean, rstd, dx,
                                              dgamma, dbeta, groups);
                  return {dx.reshape(x.shape()), dgamma, dbeta};
                });
}

}  // namespace sked
