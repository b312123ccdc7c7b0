#include "autograd/layer_norm.h"

#include "autograd/support.h"
#include "core/kernels/layer_norm.h"

namespace sked {

// x̂ = (x − mean) rstd, y = γ x̂ + β.
// With g = dy γ: dx = rstd (g − mean_j g − x̂ mean_j(g x̂)), dγ = Σ_n dy x̂, dβ = Σ_n dy.
// Saves x, γ and each row's mean and rstd; x̂ is made again from them. Where a residual connection runs past the
// norm, its gradient of x is there already, and dx takes it along.
Var layer_norm(const Var& x, const Var& gamma, const Var& beta, double eps) {
  require(x.ndim() >= 1, "layer_norm", "expected x (...,D), got ", x.value());
  require(gamma.defined() == beta.defined(), "layer_norm", "expected gamma and beta both or neither, got ",
          detail::value_or_undefined(gamma), " and ", detail::value_or_undefined(beta));
  if (gamma.defined()) detail::check_scale_shift(gamma, beta, x, "layer_norm");
  const Shape rows{x.shape().product(0, x.ndim() - 1), x.dim(-1)};
  Tensor y = detail::empty(rows, x.value()), mean = detail::empty_statistics({rows[0]}, y), rstd = Tensor::like(mean);
  kernel::layer_norm_forward(x.value().reshape(rows), detail::value_or_undefined(gamma),
                             detail::value_or_undefined(beta), y, mean, rstd, eps);
  const bool affine_needed = gamma.requires_grad() || beta.requires_grad();
  return record(y.reshape(x.shape()), {x, gamma, beta},
                [x = x.value(), gamma = detail::value_or_undefined(gamma), mean, rstd, rows, affine_needed](
                    const Tensor& dy, Gathered& gathered) -> Grads {
                  Tensor residual = gathered.include(0);
                  if (residual.defined()) residual = residual.reshape(rows);
                  Tensor dx = detail::empty(rows, x), dgamma = detail::gradient_for(affine_needed, gamma);
                  Tensor dbeta = detail::gradient_for(affine_needed, gamma);
                  kernel::layer_norm_backward(dy.reshape(rows), x.reshape(rows), gamma, mean, rstd, residual, dx,
                                              dgamma, dbeta);
                  return {dx.reshape(x.shape()), dgamma, dbeta};
                });
}

}  // namespace sked
