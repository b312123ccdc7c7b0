#pragma once
// Iterates over a row-major output while some operands are read with other strides (0 where an axis is broadcast).

#include <algorithm>
#include <array>
#include <cstdint>

#include "core/shape.h"

namespace sked {

/// The axes of an output and each operand's stride along them, in elements, with neighboring axes merged wherever
/// every operand allows it. The last axis is the inner loop; all others together number the rows.
template <size_t Operands>
struct Strided {
  using Offsets = std::array<int64_t, Operands>;

  int ndim = 0;
  std::array<int64_t, Shape::kMaxDims> extents{};
  std::array<Offsets, Shape::kMaxDims> strides{};

  /// Adds an axis behind the others; extents of one vanish.
  void add(int64_t extent, const Offsets& stride) {
    if (extent == 1) return;
    if (ndim > 0 && follows(stride, extent)) {
      extents[last()] *= extent;
      strides[last()] = stride;
      return;
    }
    extents[static_cast<size_t>(ndim)] = extent;
    strides[static_cast<size_t>(ndim++)] = stride;
  }

  int64_t inner() const { return ndim == 0 ? 1 : extents[last()]; }
  Offsets inner_strides() const { return ndim == 0 ? Offsets{} : strides[last()]; }
  int64_t rows() const {
    int64_t rows = 1;
    for (int i = 0; i + 1 < ndim; ++i) rows *= extents[static_cast<size_t>(i)];
    return rows;
  }

  /// Where row `row` of the output starts in each operand.
  Offsets row_offsets(int64_t row) const {
    Offsets offsets{};
    for (int i = ndim - 2; i >= 0; --i) {
      const auto axis = static_cast<size_t>(i);
      const int64_t index = row % extents[axis];
      row /= extents[axis];
      for (size_t k = 0; k < Operands; ++k) offsets[k] += index * strides[axis][k];
    }
    return offsets;
  }

  /// Cuts the output's elements [begin, end) into pieces of rows and calls f(first element, count, offsets of the
  /// operands there).
  template <class F>
  void for_each_piece(int64_t begin, int64_t end, F&& f) const {
    const int64_t length = inner();
    const Offsets step = inner_strides();
    for (int64_t i = begin; i < end;) {
      const int64_t within = i % length, count = std::min(end - i, length - within);
      Offsets offsets = row_offsets(i / length);
      for (size_t k = 0; k < Operands; ++k) offsets[k] += within * step[k];
      f(i, count, offsets);
      i += count;
    }
  }

 private:
  size_t last() const { return static_cast<size_t>(ndim - 1); }
  bool follows(const Offsets& stride, int64_t extent) const {
    for (size_t k = 0; k < Operands; ++k) {
      if (strides[last()][k] != stride[k] * extent) return false;
    }
    return true;
  }
};

/// Strides of a contiguous operand along the axes of the shape it is broadcast to (NumPy's rule; the caller has checked
/// it).
inline std::array<int64_t, Shape::kMaxDims> broadcast_strides(const Shape& operand, const Shape& target) {
  std::array<int64_t, Shape::kMaxDims> strides{};
  int64_t step = 1;
  for (int i = 1; i <= operand.ndim(); ++i) {
    if (operand[-i] != 1) strides[static_cast<size_t>(target.ndim() - i)] = step;
    step *= operand[-i];
  }
  return strides;
}

/// The strides of operands broadcast to `target`.
template <class... Shapes>
Strided<sizeof...(Shapes)> strided_broadcast(const Shape& target, const Shapes&... operands) {
  const std::array<std::array<int64_t, Shape::kMaxDims>, sizeof...(Shapes)> all{broadcast_strides(operands, target)...};
  Strided<sizeof...(Shapes)> strides;
  for (int i = 0; i < target.ndim(); ++i) {
    typename Strided<sizeof...(Shapes)>::Offsets stride{};
    for (size_t k = 0; k < all.size(); ++k) stride[k] = all[k][static_cast<size_t>(i)];
    strides.add(target[i], stride);
  }
  return strides;
}

}  // namespace sked
