#include "autograd/norm.h"

#include "autograd/support.h"
#include "core/kernels/elementwise.h"
#include "core/kernels/norm.h"

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

void check_scale_shift(const Var& gamma, const Var& beta, const Var& x, const char* where) {
  const Shape channels{x.dim(-1)};
  require_shape(gamma.value(), channels, where, "gamma");
  require_shape(beta.value(), channels, where, "beta");
  require_master(x.value(), gamma.value(), where);
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
                [x = x.value(), y = options.relu ? y : Tensor(), gamma = gamma.value(), mean = running_mean.clone(),
                 rstd = reciprocal_root(running_var, options.eps), relu = options.relu, dx_needed = x.requires_grad(),
                 dresidual_needed = residual.requires_grad(), dgamma_needed = gamma.requires_grad(),
                 dbeta_needed = beta.requires_grad()](const Tensor& dy) {
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
  check_scale_shift(gamma, beta, x, "batch_norm");
  require_shape(running_mean, gamma.shape(), "batch_norm", "running_mean");
  require_shape(running_var, gamma.shape(), "batch_norm", "running_var");
  if (residual.defined()) require_shape(residual.value(), x.shape(), "batch_norm", "residual");
  return options.training ? batch_norm_training(x, residual, gamma, beta, running_mean, running_var, options)
                          : batch_norm_evaluation(x, residual, gamma, beta, running_mean, running_var, options);
}

// x̂ = (x − mean) rstd, y = γ x̂ + β.
// With g = dy γ: dx = rstd (g − mean_j g − x̂ mean_j(g x̂)), dγ = Σ_n dy x̂, dβ = Σ_n dy.
// Saves x, γ and each row's mean and rstd; x̂ is made again from them. Where a residual connection runs past the
// norm, its gradient of x is there already, and dx takes it along.
Var layer_norm(const Var& x, const Var& gamma, const Var& beta, double eps) {
  require(x.ndim() >= 1, "layer_norm", "expected x (...,D), got ", x.value());
  require(gamma.defined() == beta.defined(), "layer_norm", "expected gamma and beta both or neither, got ",
          detail::value_or_undefined(gamma), " and ", detail::value_or_undefined(beta));
  if (gamma.defined()) check_scale_shift(gamma, beta, x, "layer_norm");
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

// As layer norm, with mean and rstd of one image and group, over its P positions and C/groups channels.
Var group_norm(const Var& x, const Var& gamma, const Var& beta, int64_t groups, double eps) {
  require(x.ndim() >= 3, "group_norm", "expected x (N,H,W,C) or (N,P,C), got ", x.value());
  check_scale_shift(gamma, beta, x, "group_norm");
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
