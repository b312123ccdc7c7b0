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

/// t (3,C) or, of several ranks, (N,3,C): three numbers a channel of x.
void require_three(const Tensor& x, const Tensor& t, const char* where, const char* what) {
  require_master(x, t, where);
  require_shape(t, {3, x.dim(-1)}, where, what);
}

void check_moments(const char* where, const Tensor& x, const Tensor& moments) {
  require_channels(x, {}, {}, where);
  require_three(x, moments, where, "moments");
  require(batch_norm_sizes(x).M >= 1, where, "expected at least 1 row, got x ", x);
}

void check_join(const char* where, const Tensor& moments, const Tensor& mean, const Tensor& var, const Tensor& rstd,
                const Tensor& running_mean, const Tensor& running_var, double, double) {
  require(moments.ndim() == 3 && moments.dim(0) >= 1 && moments.dim(1) == 3, where, "expected moments (N,3,C), got ",
          moments);
  require_channels(moments, {}, {&mean, &var, &rstd, &running_mean, &running_var}, where);
}

void check_sums(const char* where, const Tensor& dy, const Tensor& x, const Tensor& y, const Tensor& mean,
                const Tensor& rstd, const Tensor& dresidual, const Tensor& sums, bool relu) {
  require_channels(x, {&dy, &y, &dresidual}, {&mean, &rstd}, where);
  require_three(x, sums, where, "sums");
  require(!relu || y.defined(), where, "expected y under ReLU, got x ", x);
}

void check_input_gradient(const char* where, const Tensor& dy, const Tensor& x, const Tensor& y, const Tensor& gamma,
                          const Tensor& mean, const Tensor& rstd, const Tensor& sums, const Tensor& dx, bool relu) {
  require_channels(x, {&dy, &y, &dx}, {&gamma, &mean, &rstd}, where);
  require_three(x, sums, where, "sums");
  require(!relu || y.defined(), where, "expected y under ReLU, got x ", x);
}

void check_inference(const char* where, const Tensor& x, const Tensor& residual, const Tensor& gamma,
                     const Tensor& beta, const Tensor& running_mean, const Tensor& running_var, const Tensor& y, double,
                     bool) {
  require_channels(x, {&residual, &y}, {&gamma, &beta, &running_mean, &running_var}, where);
}

[[maybe_unused]] const bool registered =
    kernel::batch_norm_forward.expect(check_forward) && kernel::batch_norm_backward.expect(check_backward) &&
    kernel::batch_norm_moments.expect(check_moments) && kernel::batch_norm_join.expect(check_join) &&
    kernel::batch_norm_sums.expect(check_sums) && kernel::batch_norm_input_gradient.expect(check_input_gradient) &&
    kernel::batch_norm_inference.expect(check_inference);

}  // namespace
}  // namespace sked
