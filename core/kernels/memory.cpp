#include "core/kernels/memory.h"

#include <array>
#include <span>

namespace sked {
namespace {

void check_fill(const char* where, const Tensor& y, double) {
  require(y.defined(), where, "expected a tensor, got ", y);
}

void check_arange(const char* where, const Tensor& y) {
  require(y.defined() && y.dtype() == DType::i64, where, "expected a tensor in i64, got ", y);
}

void check_cast(const char* where, const Tensor& x, const Tensor& y) {
  require_shape(y, x.shape(), where, "y");
  require(x.device() == y.device(), where, "expected tensors of one device, got ", x, " and ", y);
}

void check_add_scaled(const char* where, const Tensor& x, const Tensor& y, double) {
  require_alike(x, y, where);
  require_shape(x, y.shape(), where, "x");
}

void check_permute(const char* where, const Tensor& x, const Tensor& y, const std::vector<int>& perm) {
  require_alike(x, y, where);
  require(static_cast<int>(perm.size()) == x.ndim(), where, "expected ", x.ndim(), " axes for ", x, ", got ",
          perm.size());
  std::array<bool, Shape::kMaxDims> seen{};
  std::array<int64_t, Shape::kMaxDims> extents{};
  for (size_t i = 0; i < perm.size(); ++i) {
    const bool fresh = perm[i] >= 0 && perm[i] < x.ndim() && !seen[static_cast<size_t>(perm[i])];
    require(fresh, where, "expected each axis of ", x, " once, got ", perm[i], " at position ", i);
    seen[static_cast<size_t>(perm[i])] = true;
    extents[i] = x.dim(perm[i]);
  }
  require_shape(y, Shape(std::span<const int64_t>(extents.data(), perm.size())), where, "y");
}

/// `part` is `whole` with [start, start + part.dim(axis)) of one axis.
void require_slice(const Tensor& whole, const Tensor& part, int axis, int64_t start, const char* where) {
  require_alike(whole, part, where);
  axis = whole.shape().axis(axis);
  require(part.ndim() == whole.ndim(), where, "expected ", whole.ndim(), " axes, got ", part);
  require_shape(part, whole.shape().with(axis, part.dim(axis)), where, "slice");
  const bool inside = start >= 0 && start <= whole.dim(axis) && part.dim(axis) <= whole.dim(axis) - start;
  require(inside, where, "expected a range of axis ", axis, " of ", whole, ", got ", start, " + ", part.dim(axis));
}

void check_slice(const char* where, const Tensor& x, const Tensor& y, int axis, int64_t start) {
  require_slice(x, y, axis, start, where);
}

void check_slice_insert(const char* where, const Tensor& x, const Tensor& y, int axis, int64_t start) {
  require_slice(y, x, axis, start, where);
}

void check_broadcast_to(const char* where, const Tensor& x, const Tensor& y) {
  require_alike(x, y, where);
  require(broadcast(x.shape(), y.shape()) == y.shape(), where, "expected a shape that broadcasts to ", y.shape(),
          ", got ", x);
}

[[maybe_unused]] const bool registered =
    kernel::fill.expect(check_fill) && kernel::arange.expect(check_arange) && kernel::cast.expect(check_cast) &&
    kernel::add_scaled.expect(check_add_scaled) && kernel::permute.expect(check_permute) &&
    kernel::slice.expect(check_slice) && kernel::slice_insert.expect(check_slice_insert) &&
    kernel::broadcast_to.expect(check_broadcast_to);

}  // namespace
}  // namespace sked
