#include "core/kernels/layer_norm.h"

namespace sked {
namespace {

/// x and like_x (N,D) with D ≥ 1; gamma and other (D) or undefined; mean and rstd (N).
void require_rows(const Tensor& x, const Tensor& like_x, const Tensor& gamma, const Tensor& other, const Tensor& mean,
                  const Tensor& rstd, const char* where) {
  require(x.ndim() == 2 && x.dim(1) >= 1, where, "expected x (N,D) with D >= 1, got ", x);
  require_shape(like_x, x.shape(), where, "a tensor like x");
  require_alike(x, like_x, where);
  for (const Tensor* t : {&mean, &rstd}) require_shape(*t, {x.dim(0)}, where, "a tensor of rows");
  for (const Tensor* t : {&gamma, &other})
    if (t->defined()) require_shape(*t, {x.dim(1)}, where, "a tensor of width D");
  for (const Tensor* t : {&mean, &rstd, &gamma, &other})
    if (t->defined()) require_master(x, *t, where);
}

void check_forward(const char* where, const Tensor& x, const Tensor& residual, const Tensor& gamma, const Tensor& beta,
                   const Tensor& sum, const Tensor& y, const Tensor& mean, const Tensor& rstd, double) {
  for (const Tensor* t : {&residual, &sum, &y})
    if (t->defined() || t == &y) require_rows(x, *t, gamma, beta, mean, rstd, where);
  require(gamma.defined() == beta.defined(), where, "expected gamma and beta both defined or both undefined");
  require(residual.defined() == sum.defined(), where, "expected residual and sum both defined or both undefined");
}

void check_backward(const char* where, const Tensor& dy, const Tensor& x, const Tensor& gamma, const Tensor& mean,
                    const Tensor& rstd, const Tensor& residual, const Tensor& dx, const Tensor& dgamma,
                    const Tensor& dbeta) {
  require_rows(x, dy, gamma, dgamma, mean, rstd, where);
  if (residual.defined()) require_rows(x, residual, gamma, dbeta, mean, rstd, where);
  require_rows(x, dx, gamma, dbeta, mean, rstd, where);
}

[[maybe_unused]] const bool registered =
    kernel::layer_norm_forward.expect(check_forward) && kernel::layer_norm_backward.expect(check_backward);

}  // namespace
}  // namespace sked
