#include "autograd/layer_norm.h"

#include "autograd/support.h"
#include "core/kernels/layer_norm.h"

namespace sked {

namespace {

/// A layer norm's result before it is on the tape.
struct Forward {
  Shape rows;
  Tensor sum, y, mean, rstd;  // (N,D), sum undefined without a branch; (N,D); (N); (N)
};

/// Of x, or of x + branch where that is defined.
Forward forward(const Var& x, const Tensor& branch, const Var& gamma, const Var& beta, double eps, const char* where) {
  require(x.ndim() >= 1, where, "expected x (...,D), got ", x.value());
  require(gamma.defined() == beta.defined(), where, "expected gamma and beta both or neither, got ",
          detail::value_or_undefined(gamma), " and ", detail::value_or_undefined(beta));
  if (gamma.defined()) detail::check_scale_shift(gamma, beta, x, where);
  Forward f{{x.shape().product(0, x.ndim() - 1), x.dim(-1)}, {}, {}, {}, {}};
  f.y = detail::empty(f.rows, x.value());
  f.mean = detail::empty_statistics({f.rows[0]}, f.y);
  f.rstd = Tensor::like(f.mean);
  if (branch.defined()) f.sum = Tensor::like(f.y);
  kernel::layer_norm_forward(x.value().reshape(f.rows), branch.defined() ? branch.reshape(f.rows) : branch,
                             detail::value_or_undefined(gamma), detail::value_or_undefined(beta), f.sum, f.y, f.mean,
                             f.rstd, eps);
  return f;
}

// x̂ = (x − mean) rstd, y = γ x̂ + β.
// With g = dy γ: dx = rstd (g − mean_j g − x̂ mean_j(g x̂)), dγ = Σ_n dy x̂, dβ = Σ_n dy.
// Saves x, γ and each row's mean and rstd; x̂ is made again from them. Where a residual connection runs past the
// norm, its gradient of x is there already, and dx takes it along.
Var record_norm(const Forward& f, const Var& x, const Var& gamma, const Var& beta) {
  const bool affine_needed = gamma.requires_grad() || beta.requires_grad();
  return record(f.y.reshape(x.shape()), {x, gamma, beta},
                [x = x.value(), gamma = detail::value_or_undefined(gamma), mean = f.mean, rstd = f.rstd, rows = f.rows,
                 affine_needed](const Tensor& dy, Gathered& gathered) -> Grads {
                  Tensor residual = gathered.include(0);
                  if (residual.defined()) residual = residual.reshape(rows);
                  Tensor dx = detail::empty(rows, x), dgamma = detail::gradient_for(affine_needed, gamma);
                  Tensor dbeta = detail::gradient_for(affine_needed, gamma);
                  kernel::layer_norm_backward(dy.reshape(rows), x.reshape(rows), gamma, mean, rstd, residual, dx,
                                              dgamma, dbeta);
                  return {dx.reshape(x.shape()), dgamma, dbeta};
                });
}

}  // namespace

Var layer_norm(const Var& x, const Var& gamma, const Var& beta, double eps) {
  return record_norm(forward(x, {}, gamma, beta, eps, "layer_norm"), x, gamma, beta);
}

// sum = x + branch: dx = dbranch = d sum, which has gathered the norm's gradient by then. Saves nothing of its own.
NormedSum add_layer_norm(const Var& x, const Var& branch, const Var& gamma, const Var& beta, double eps) {
  require_shape(branch.value(), x.shape(), "add_layer_norm", "branch");
  require_alike(x.value(), branch.value(), "add_layer_norm");
  const Forward f = forward(x, branch.value(), gamma, beta, eps, "add_layer_norm");
  const Var sum =
      record(f.sum.reshape(x.shape()), {x, branch},
             [dx_needed = x.requires_grad(), dbranch_needed = branch.requires_grad()](const Tensor& dy) -> Grads {
               return {dx_needed ? dy : Tensor(), dbranch_needed ? dy : Tensor()};
             });
  return {sum, record_norm(f, sum, gamma, beta)};
}

}  // namespace sked
