#include "core/kernels/batch_norm.h"

#include <initializer_list>

namespace sked {
namespace {

/// x (…,C), like_x of its shape, per_channel (C). Undefined tensors pass.
void require_channels(const Tensor& x, std::initializer_list<const Tensor*> like_x,
                      std::initializer_list<const Tensor*> per_channel, const char* where) {
  require(x.ndim() >= 2, where, "expected x (...,C), got ", x);
  for (const Tensor* t : like_x) {
    if (!t->defined()) continue;
    require_alike(x, *t, where);
    require_shape(*t, x.shape(), where, "a tensor like x");
  }
  for (const Tensor* t : per_channel) {
    if (!t->defined()) continue;
    require_master(x, *t, where);
    require_shape(*t, {x.dim(-1)}, where, "a tensor of channels");
  }
}

void check_forward(const char* where, const Tensor& x, const Tensor& residual, const Tensor& gamma, const Tensor& beta,
                   const Tensor& y, const Tensor& mean, const Tensor& rstd, const Tensor& running_mean,
                   const Tensor& running_var, double, double, bool) {
  require_channels(x, {&residual, &y}, {&gamma, &beta, &mean, &rstd, &running_mean, &running_var}, where);
  require(batch_norm_sizes(x).M >= 2, where, "expected at least 2 rows to normalize over, got x ", x);
}

void check_backward(const char* where, const Tensor& dy, const Tensor& x, const Tensor& y, const Tensor& gamma,
                    const Tensor& mean, const Tensor& rstd, const Tensor& dx, const Tensor& dresidual,
                    const Tensor& dgamma, const Tensor& dbeta, bool relu) {
  require_channels(x, {&dy, &y, &dx, &dresidual}, {&gamma, &mean, &rstd, &dgamma, &dbeta}, where);
  require(batch_norm_sizes(x).M >= 2 && (!relu || y.defined()), where,
          "expected at least 2 rows, and y under ReLU, got x ", x);
}

void check_inference(const char* where, const Tensor& x, const Tensor& residual, const Tensor& gamma,
                     const Tensor& beta, const Tensor& running_mean, const Tensor& running_var, const Tensor& y, double,
                     bool) {
  require_channels(x, {&residual, &y}, {&gamma, &beta, &running_mean, &running_var}, where);
}

[[maybe_unused]] const bool registered = kernel::batch_norm_forward.expect(check_forward) &&
                                         kernel::batch_norm_backward.expect(check_backward) &&
                                         kernel::batch_norm_inference.expect(check_inference);

}  // namespace
}  // namespace sked
