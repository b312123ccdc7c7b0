#pragma once
// Rearranging elements. Each backward is the inverse rearrangement of dy; nothing is saved but shapes.

#include "autograd/var.h"

namespace sked {

/// The same elements under another shape (shares storage); one extent may be -1.
Var reshape(const Var& x, const std::vector<int64_t>& extents);
inline Var reshape(const Var& x, std::initializer_list<int64_t> extents) {
  return reshape(x, std::vector<int64_t>(extents));
}
Var reshape(const Var& x, const Shape& shape);
/// Axis i of the result is axis perm[i] of x.
Var permute(const Var& x, const std::vector<int>& perm);
/// Swaps the last two axes.
Var transpose(const Var& x);
/// [begin, end) along an axis.
Var slice(const Var& x, int axis, int64_t begin, int64_t end);
/// Joins along an axis; the other extents must agree. At least one part.
Var concat(const std::vector<Var>& parts, int axis);
/// Repeats to `shape` by NumPy's rule; dx sums over what was repeated.
Var broadcast_to(const Var& x, const Shape& shape);

}  // namespace sked
