#pragma once
// Row-major outputs whose operands are read with other strides: core/kernels/strided.h's, taken to the device.

#include <limits>

#include "core/kernels/strided.h"
#include "cuda/launch.cuh"

namespace sked::cuda {

/// What is divided by again and again: three instructions where a 32-bit division costs some twenty (Granlund &
/// Montgomery, PLDI 1994). Int has 32 or 64 bits; what is divided is not negative and, in 32 bits, below 2^31.
template <class Int>
class Divisor {
 public:
  explicit Divisor(int64_t by = 1) : by_(static_cast<Int>(by)) {
    if constexpr (kNarrow) {
      if (by == 0) return;  // of an empty tensor, where nothing is divided
      while (uint64_t{1} << shift_ < static_cast<uint64_t>(by)) ++shift_;
      const uint64_t beyond = (uint64_t{1} << shift_) - static_cast<uint64_t>(by);
      magic_ = static_cast<uint32_t>((beyond << 32) / static_cast<uint64_t>(by) + 1);
    }
  }
  __device__ Int by() const { return by_; }
  __device__ friend Int operator/(Int n, const Divisor& d) {
    if constexpr (kNarrow) {
      const auto all = static_cast<uint32_t>(n), high = static_cast<uint32_t>((uint64_t{all} * d.magic_) >> 32);
      return static_cast<Int>((high + all) >> d.shift_);
    } else {
      return n / d.by_;
    }
  }

 private:
  static constexpr bool kNarrow = sizeof(Int) == sizeof(uint32_t);
  Int by_;
  uint32_t magic_ = 0, shift_ = 0;
};

/// The axes of a loop, outermost first, and every operand's stride along them. Index is uint32_t where all offsets fit
/// 31 bits, because a 64-bit division costs a GPU some forty instructions. Kernels take it as
/// `const __grid_constant__`: what is indexed at run time would be copied to each thread's local memory otherwise.
template <int Operands, class Index>
struct StridedIndex {
  int ndim = 0;
  Divisor<Index> extents[Shape::kMaxDims];
  Index strides[Shape::kMaxDims][Operands] = {};

  explicit StridedIndex(const Strided<Operands>& s) : ndim(s.ndim) {
    for (size_t i = 0; i < static_cast<size_t>(ndim); ++i) {
      extents[i] = Divisor<Index>(s.extents[i]);
      for (size_t k = 0; k < Operands; ++k) strides[i][k] = static_cast<Index>(s.strides[i][k]);
    }
  }

  /// Where element i of the output lies in each operand.
  __device__ void locate(Index i, Index (&at)[Operands]) const {
    for (int k = 0; k < Operands; ++k) at[k] = 0;
    for (int axis = ndim - 1; axis >= 0; --axis) {
      const Index rest = axis > 0 ? i / extents[axis] : 0, index = i - rest * extents[axis].by();
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
