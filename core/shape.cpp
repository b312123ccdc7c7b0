#include "core/shape.h"

#include <algorithm>

#include "core/error.h"

namespace sked {

Shape::Shape(std::span<const int64_t> extents) {
  require(extents.size() <= kMaxDims, "shape", "expected at most ", kMaxDims, " axes, got ", extents.size());
  ndim_ = static_cast<int>(extents.size());
  // Zeros are left out of the check, so that the product of any run of axes fits too.
  int64_t nonzero = 1;
  for (size_t i = 0; i < extents.size(); ++i) {
    require(extents[i] >= 0, "shape", "expected extents >= 0, got ", extents[i], " on axis ", i);
    extents_[i] = extents[i];
    numel_ *= extents[i] == 0 ? 0 : 1;
    const bool overflow = extents[i] > 0 && __builtin_mul_overflow(nonzero, extents[i], &nonzero);
    require(!overflow, "shape", "the product of the extents of ", str(), " exceeds 64 bits");
  }
  numel_ *= nonzero;
}

int Shape::axis(int axis) const {
  require(axis >= -ndim_ && axis < ndim_, "shape", "expected an axis of ", *this, ", got ", axis);
  return axis < 0 ? axis + ndim_ : axis;
}

int64_t Shape::product(int begin, int end) const {
  require(begin >= 0 && begin <= end && end <= ndim_, "shape", "expected axes in 0 to ", ndim_, ", got [", begin, ", ",
          end, ")");
  int64_t product = 1;
  for (int i = begin; i < end; ++i) product *= extents_[static_cast<size_t>(i)];
  return product;
}

Shape Shape::with(int axis, int64_t extent) const {
  std::array<int64_t, kMaxDims> extents = extents_;
  extents[static_cast<size_t>(this->axis(axis))] = extent;
  return Shape(std::span<const int64_t>(extents.data(), static_cast<size_t>(ndim_)));
}

Shape Shape::without(int axis) const {
  const int removed = this->axis(axis);
  std::array<int64_t, kMaxDims> extents{};
  size_t count = 0;
  for (int i = 0; i < ndim_; ++i) {
    if (i != removed) extents[count++] = extents_[static_cast<size_t>(i)];
  }
  return Shape(std::span<const int64_t>(extents.data(), count));
}

std::string Shape::str() const {
  std::string text = "(";
  for (int i = 0; i < ndim_; ++i) {
    if (i > 0) text += ", ";
    text += std::to_string(extents_[static_cast<size_t>(i)]);
  }
  return text + ")";
}

Shape broadcast(const Shape& a, const Shape& b) {
  const int ndim = std::max(a.ndim(), b.ndim());
  std::array<int64_t, Shape::kMaxDims> extents{};
  for (int i = 1; i <= ndim; ++i) {  // from the last axis
    const int64_t p = i <= a.ndim() ? a[-i] : 1;
    const int64_t q = i <= b.ndim() ? b[-i] : 1;
    require(p == q || p == 1 || q == 1, "broadcast", "expected shapes that broadcast, got ", a, " and ", b);
    extents[static_cast<size_t>(ndim - i)] = p == 1 ? q : p;
  }
  return Shape(std::span<const int64_t>(extents.data(), static_cast<size_t>(ndim)));
}

}  // namespace sked
