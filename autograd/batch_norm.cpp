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

/// kernel::batch_norm_forward over the rows of all ranks, which meet once.
void forward_over_ranks(Communicator& ranks, const Tensor& x, const Tensor& residual, const Tensor& gamma,
                        const Tensor& beta, Tensor& y, Tensor& mean, Tensor& rstd, Tensor& running_mean,
                        Tensor& running_var, const BatchNormOptions& options) {
  const int64_t C = gamma.numel(), N = ranks.size();
  Tensor mine = Tensor::empty({3, C}, gamma.dtype(), gamma.device());
  Tensor all = Tensor::empty({3 * N, C}, gamma.dtype(), gamma.device()), var = Tensor::like(mean);
  kernel::batch_norm_moments(x, mine);
  ranks.all_gather(mine, std::vector<int64_t>(static_cast<size_t>(N), 3), all);
  kernel::batch_norm_join(all.reshape({N, 3, C}), mean, var, rstd, running_mean, running_var, options.momentum,
                          options.eps);
  kernel::batch_norm_inference(x, residual, gamma, beta, mean, var, y, options.eps, options.relu);
}

/// kernel::batch_norm_backward over the rows of all ranks, which meet once; dγ and dβ are of this rank's.
void backward_over_ranks(Communicator& ranks, const Tensor& dy, const Tensor& x, const Tensor& y, const Tensor& gamma,
                         const Tensor& mean, const Tensor& rstd, Tensor& dx, Tensor& dresidual, Tensor& dgamma,
                         Tensor& dbeta, bool relu) {
  const int64_t C = gamma.numel();
  Tensor sums = Tensor::empty({3, C}, gamma.dtype(), gamma.device());
  kernel::batch_norm_sums(dy, x, y, mean, rstd, dresidual, sums, relu);
  dbeta.copy_from(sums.rows(0, 1).reshape({C}));
  dgamma.copy_from(sums.rows(1, 2).reshape({C}));
  ranks.all_reduce(sums);
  const bool known = dresidual.defined();  // g
  kernel::batch_norm_input_gradient(known ? dresidual : dy, x, y, gamma, mean, rstd, sums, dx, relu && !known);
}

/// Statistics of the batch. Saves x, γ, mean and rstd, and y where a ReLU must be undone ([y > 0]).
Var batch_norm_training(const Var& x, const Var& residual, const Var& gamma, const Var& beta, Tensor& running_mean,
                        Tensor& running_var, const BatchNormOptions& options) {
  Tensor y = Tensor::like(x.value()), mean = Tensor::like(gamma.value()), rstd = Tensor::like(mean);
  // A recomputation sees the same batch again, and must not count it twice.
  Tensor scratch_mean = recomputing() ? running_mean.clone() : running_mean;
  Tensor scratch_var = recomputing() ? running_var.clone() : running_var;
  const Tensor shortcut = detail::value_or_undefined(residual);
  Communicator* const ranks = options.ranks && options.ranks->size() > 1 ? options.ranks : nullptr;
  if (ranks)
    forward_over_ranks(*ranks, x.value(), shortcut, gamma.value(), beta.value(), y, mean, rstd, scratch_mean,
                       scratch_var, options);
  else
    kernel::batch_norm_forward(x.value(), shortcut, gamma.value(), beta.value(), y, mean, rstd, scratch_mean,
                               scratch_var, options.momentum, options.eps, options.relu);

  return record(y, {x, residual, gamma, beta},
                [x = x.value(), y = options.relu ? y : Tensor(), gamma = gamma.value(), mean, rstd, relu = options.relu,
                 ranks, dresidual_needed = residual.requires_grad()](const Tensor& dy) -> Grads {
                  // g = dy [y > 0]; dresidual = g, which without a ReLU is dy itself.
                  Tensor dresidual = detail::gradient_for(dresidual_needed && relu, x);
                  Tensor dx = Tensor::like(x), dgamma = Tensor::like(gamma), dbeta = Tensor::like(gamma);
                  if (ranks)
                    backward_over_ranks(*ranks, dy, x, y, gamma, mean, rstd, dx, dresidual, dgamma, dbeta, relu);
                  else
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
