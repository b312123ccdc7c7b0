#pragma once
// Row-major outputs whose operands are read with other strides: core/cpu/strided.h's walk, taken to the device.

#include <limits>

#include "core/cpu/strided.h"
#include "cuda/launch.cuh"

namespace sked::cuda {

/// The axes of a walk, outermost first, and every operand's stride along them. Index is uint32_t where all offsets fit
/// 31 bits, because a 64-bit division costs a GPU some forty instructions.
template <int Operands, class Index>
struct Walk {
  int ndim = 0;
  Index extents[Shape::kMaxDims] = {}, strides[Shape::kMaxDims][Operands] = {};

  explicit Walk(const cpu::Strided<Operands>& s) : ndim(s.ndim) {
    for (size_t i = 0; i < static_cast<size_t>(ndim); ++i) {
      extents[i] = static_cast<Index>(s.extents[i]);
      for (size_t k = 0; k < Operands; ++k) strides[i][k] = static_cast<Index>(s.strides[i][k]);
    }
  }

  /// Where element i of the output lies in each operand.
  __device__ void locate(Index i, Index (&at)[Operands]) const {
    for (int k = 0; k < Operands; ++k) at[k] = 0;
    for (int axis = ndim - 1; axis >= 0; --axis) {
      const Index rest = axis > 0 ? i / extents[axis] : 0, index = i - rest * extents[axis];
      for (int k = 0; k < Operands; ++k) at[k] += index * strides[axis][k];
      i = rest;
    }
  }
};

/// Calls f(Index{}) with the narrowest index type for offsets below `elements`.
template <class F>
void visit_index(int64_t elements, F&& f) {
  if (elements <= std::numeric_limits<int32_t>::max() - (1 << 16)) return f(uint32_t{});  // room for a grid's excess
  f(uint64_t{});
}

}  // namespace sked::cuda
