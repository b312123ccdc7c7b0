#include "core/kernels/softmax.h"

#include <initializer_list>

#include "core/kernels/checks.h"

namespace sked {
namespace {

/// x (…,K), and the others alike.
void require_rows(const Tensor& x, std::initializer_list<const Tensor*> others, const char* where) {
  require(x.ndim() >= 1, where, "expected at least one axis, got ", x);
  for (const Tensor* t : others) {
    require_shape(*t, x.shape(), where, "a tensor like x");
    require_alike(x, *t, where);
  }
}

void check_forward(const char* where, const Tensor& x, const Tensor& y) { require_rows(x, {&y}, where); }

void check_backward(const char* where, const Tensor& dy, const Tensor& y, const Tensor& dx) {
  require_rows(y, {&dy, &dx}, where);
}

void check_logsumexp_forward(const char* where, const Tensor& x, const Tensor& y, ReduceView view) {
  require_view(x, y, view, where);
  require_alike(x, y, where);
}

void check_logsumexp_backward(const char* where, const Tensor& x, const Tensor& y, const Tensor& dy, const Tensor& dx,
                              ReduceView view) {
  require_view(x, y, view, where);
  require_view(dx, dy, view, where);
  for (const Tensor* other : {&y, &dy, &dx}) require_alike(x, *other, where);
}

/// x (N,K), labels (N) i64, per_row (N).
void require_labeled(const Tensor& x, const Tensor& labels, std::initializer_list<const Tensor*> per_row,
                     const char* where) {
  require(x.ndim() == 2, where, "expected x (N,K), got ", x);
  require_indices(labels, x.dim(0), x, where, "labels");
  for (const Tensor* t : per_row) {
    require_shape(*t, {x.dim(0)}, where, "a tensor of rows");
    require_master(x, *t, where);
  }
}

void check_cross_entropy_forward(const char* where, const Tensor& x, const Tensor& labels, const Tensor& loss,
                                 const Tensor& lse) {
  require_labeled(x, labels, {&loss, &lse}, where);
}

void check_cross_entropy_backward(const char* where, const Tensor& dloss, const Tensor& x, const Tensor& labels,
                                  const Tensor& lse, const Tensor& dx) {
  require_labeled(x, labels, {&dloss, &lse}, where);
  require_rows(x, {&dx}, where);
}

[[maybe_unused]] const bool registered =
    kernel::softmax_forward.expect(check_forward) && kernel::softmax_backward.expect(check_backward) &&
    kernel::log_softmax_forward.expect(check_forward) && kernel::log_softmax_backward.expect(check_backward) &&
    kernel::logsumexp_forward.expect(check_logsumexp_forward) &&
    kernel::logsumexp_backward.expect(check_logsumexp_backward) &&
    kernel::cross_entropy_forward.expect(check_cross_entropy_forward) &&
    kernel::cross_entropy_backward.expect(check_cross_entropy_backward);

}  // namespace
}  // namespace sked
