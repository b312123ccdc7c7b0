#include "core/kernels/group_norm.h"

#include <initializer_list>

namespace sked {
namespace {

void require_groups(const Tensor& x, std::initializer_list<const Tensor*> like_x,
                    std::initializer_list<const Tensor*> per_channel, std::initializer_list<const Tensor*> per_group,
                    int64_t groups, const char* where) {
  require(x.ndim() == 3 && groups >= 1 && x.dim(2) >= 1 && x.dim(2) % groups == 0 && x.dim(1) >= 1, where,
          "expected x (N,P,C) with P >= 1 and C divisible by groups, got ", x, " and ", groups, " groups");
  for (const Tensor* t : like_x) {
    require_shape(*t, x.shape(), where, "a tensor like x");
    require_alike(x, *t, where);
  }
  const auto check = [&](const Tensor* t, const Shape& shape, const char* what) {
    require_shape(*t, shape, where, what);
    require_master(x, *t, where);
  };
  for (const Tensor* t : per_channel) check(t, {x.dim(2)}, "a tensor of channels");
  for (const Tensor* t : per_group) check(t, {x.dim(0), groups}, "a tensor of groups");
}

void check_forward(const char* where, const Tensor& x, const Tensor& gamma, const Tensor& beta, const Tensor& y,
                   const Tensor& mean, const Tensor& rstd, int64_t groups, double) {
  require_groups(x, {&y}, {&gamma, &beta}, {&mean, &rstd}, groups, where);
}

void check_backward(const char* where, const Tensor& dy, const Tensor& x, const Tensor& gamma, const Tensor& mean,
                    const Tensor& rstd, const Tensor& dx, const Tensor& dgamma, const Tensor& dbeta, int64_t groups) {
  require_groups(x, {&dy, &dx}, {&gamma, &dgamma, &dbeta}, {&mean, &rstd}, groups, where);
}

[[maybe_unused]] const bool registered =
    kernel::group_norm_forward.expect(check_forward) && kernel::group_norm_backward.expect(check_backward);

}  // namespace
}  // namespace sked
