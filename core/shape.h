#pragma once
// The extents of a tensor. Dimension letters used throughout the project:
//   N or B batch · H W height, width · C channels · O I output, input features · T tokens · D width of a representation
//   K classes · S Monte Carlo samples · R rank of noise factors · J coordinates the noise lives on (K for HET, D for
//   HET-XL)

#include <array>
#include <cstdint>
#include <initializer_list>
#include <ostream>
#include <span>
#include <string>

namespace sked {

/// Up to six extents, row-major: the last axis is contiguous. Extents are ≥ 0 and their product fits int64.
class Shape {
 public:
  static constexpr int kMaxDims = 6;

  /// The shape of a scalar: no axes, one element.
  Shape() = default;
  Shape(std::initializer_list<int64_t> extents) : Shape(std::span<const int64_t>(extents.begin(), extents.size())) {}
  /// Throws Error for more than six axes, a negative extent or a product beyond int64.
  explicit Shape(std::span<const int64_t> extents);

  int ndim() const { return ndim_; }
  /// Number of elements.
  int64_t numel() const { return numel_; }
  /// Extent of `axis`; negative axes count from the end. Throws Error when out of range.
  int64_t operator[](int axis) const { return extents_[static_cast<size_t>(this->axis(axis))]; }
  /// `axis` in 0 … ndim-1; negative axes count from the end. Throws Error when out of range.
  int axis(int axis) const;
  /// Product of the extents of axes [begin, end).
  int64_t product(int begin, int end) const;
  /// This shape with the extent of `axis` replaced.
  Shape with(int axis, int64_t extent) const;
  /// This shape without `axis`.
  Shape without(int axis) const;

  const int64_t* begin() const { return extents_.data(); }
  const int64_t* end() const { return extents_.data() + ndim_; }
  std::string str() const;

  bool operator==(const Shape& other) const { return ndim_ == other.ndim_ && extents_ == other.extents_; }

 private:
  std::array<int64_t, kMaxDims> extents_{};
  int ndim_ = 0;
  int64_t numel_ = 1;
};

/// The shape two operands broadcast to (NumPy's rule). Throws Error where they do not.
Shape broadcast(const Shape& a, const Shape& b);

inline std::ostream& operator<<(std::ostream& out, const Shape& shape) { return out << shape.str(); }

}  // namespace sked
