#include "autograd/batch_norm.h"

#include "autograd/recompute.h"
#include "autograd/support.h"
#include "core/kernels/batch_norm.h"
#include "core/kernels/elementwise.h"

namespace sked {

namespace {

Tensor combine(const Tensor& a, const Tensor& b, Binary op) {
  Tensor y = Tensor::like(a);
  kernel::binary_forward(a, b, y, op);
  return y;
}

/// 1 / sqrt(var + eps)
Tensor reciprocal_root(const Tensor& var, double eps) {
  Tensor rstd = Tensor::like(var);
  kernel::affine(var, rstd, 1, eps);
  kernel::unary_forward(rstd, rstd, Unary::sqrt);
  kernel::unary_forward(rstd, rstd, Unary::reciprocal);
  return rstd;
}

/// Statistics of the batch. Saves x, γ, mean and rstd, and y where a ReLU must be undone ([y > 0]).
Var batch_norm_training(const Var& x, const Var& residual, const Var& gamma, const Var& beta, Tensor& running_mean,
                        Tensor& running_var, const BatchNormOptions& options) {
  Tensor y = Tensor::like(x.value()), mean = Tensor::like(gamma.value()), rstd = Tensor::like(mean);
  // A recomputation sees the same batch again, and must not count it twice.
  Tensor scratch_mean = recomputing() ? running_mean.clone() : running_mean;
  Tensor scratch_var = recomputing() ? running_var.clone() : running_var;
  kernel::batch_norm_forward(x.value(), detail::value_or_undefined(residual), gamma.value(), beta.value(), y, mean,
                             rstd, scratch_mean, scratch_var, options.momentum, options.eps, options.relu);

  return record(y, {x, residual, gamma, beta},
                [x = x.value(), y = options.relu ? y : Tensor(), gamma = gamma.value(), mean, rstd, relu = options.relu,
                 dresidual_needed = residual.requires_grad()](const Tensor& dy) -> Grads {
                  // g = dy [y > 0]; dresidual = g, which without a ReLU is dy itself.
                  Tensor dresidual = detail::gradient_for(dresidual_needed && relu, x);
                  Tensor dx = Tensor::like(x), dgamma = Tensor::like(gamma), dbeta = Tensor::like(gamma);
                  kernel::batch_norm_backward(dy, x, y, gamma, mean, rstd, dx, dresidual, dgamma, dbeta, relu);
                  return {dx, dresidual_needed && !relu ? dy : dresidual, dgamma, dbeta};
                });
}

/// Running statistics as constants: x̂ = (x − mean) rstd, y = γ x̂ + β [+ residual], g = dy [y > 0]:
/// dx = γ rstd g, dresidual = g, dγ = Σ g x̂, dβ = Σ g. Saves x, γ, copies of the statistics, and y under a ReLU.
Var batch_norm_evaluation(const Var& x, const Var& residual, const Var& gamma, const Var& beta,
                          const Tensor& running_mean, const Tensor& running_var, const BatchNormOptions& options) {
  Tensor y = Tensor::like(x.value());
  kernel::batch_norm_inference(x.value(), detail::value_or_undefined(residual), gamma.value(), beta.value(),
                               running_mean, running_var, y, options.eps, options.relu);
  if (!detail::on_tape({x, residual, gamma, beta})) return Var(y);

  return record(y, {x, residual, gamma, beta},
                [x = x.value(), y = options.relu ? y : Tensor(), gamma = gamma.value(),
                 mean = running_mean.clone().to(gamma.dtype()),
                 rstd = reciprocal_root(running_var, options.eps).to(gamma.dtype()), relu = options.relu,
                 dx_needed = x.requires_grad(), dresidual_needed = residual.requires_grad(),
                 dgamma_needed = gamma.requires_grad(), dbeta_needed = beta.requires_grad()](const Tensor& dy) {
                  Tensor dresidual = dy;
                  if (relu) {
                    dresidual = Tensor::like(dy);
                    kernel::unary_backward(y, dy, dresidual, Unary::relu);
                  }
                  Grads grads(4);
                  if (dresidual_needed) grads[1] = dresidual;
                  const DType master = gamma.dtype();
                  const Tensor g = dresidual.to(master);
                  if (dx_needed) grads[0] = combine(g, combine(gamma, rstd, Binary::mul), Binary::mul).to(dy.dtype());
                  if (dgamma_needed) {
                    const Tensor normalized = combine(combine(x.to(master), mean, Binary::sub), rstd, Binary::mul);
                    grads[2] = sum_to(combine(g, normalized, Binary::mul), gamma.shape());
                  }
                  if (dbeta_needed) grads[3] = sum_to(g, gamma.shape());
                  return grads;
                });
}

}  // namespace

Var batch_norm(const Var& x, const Var& residual, const Var& gamma, const Var& beta, Tensor& running_mean,
               Tensor& running_var, const BatchNormOptions& options) {
  require(x.ndim() >= 2, "batch_norm", "expected x (...,C), got ", x.value());
  detail::check_scale_shift(gamma, beta, x, "batch_norm");
  require_shape(running_mean, gamma.shape(), "batch_norm", "running_mean");
  require_shape(running_var, gamma.shape(), "batch_norm", "running_var");
  if (residual.defined()) require_shape(residual.value(), x.shape(), "batch_norm", "residual");
  return options.training ? batch_norm_training(x, residual, gamma, beta, running_mean, running_var, options)
                          : batch_norm_evaluation(x, residual, gamma, beta, running_mean, running_var, options);
}

}  // namespace sked
