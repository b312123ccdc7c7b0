#include "core/cpu/onednn_blocks.h"

#include <algorithm>

#include "core/cpu/parallel.h"

namespace sked::cpu::onednn {
namespace {

constexpr int64_t kWidest = 64, kRows = 32;  // of a block

template <class From>
uint32_t rounded_bits(From value) {
  if constexpr (std::is_same_v<From, bf16>) {
    return value.bits;
  } else {
    bf16 rounded;
    rounded.round(value);
    return rounded.bits;
  }
}

/// A pair of rows' elements as they lie in memory.
template <class From>
uint32_t pair(From first, From second) {
  return rounded_bits(first) | rounded_bits(second) << 16;
}

/// One block: `rows` of its rows and `columns` of its columns are there.
template <class From>
void fill_block(MatrixView<From> b, int64_t rows, int64_t columns, int64_t width, bf16* to) {
  static constexpr From zeros[kWidest] = {};
  auto* out = reinterpret_cast<uint32_t*>(to);
  if (rows < kRows || columns < width) std::fill_n(out, 16 * width, 0u);
  if (b.col == 1) {
    for (int64_t q = 0; q < rows; q += 2) {
      const From *first = b.data + q * b.row, *second = q + 1 < rows ? first + b.row : zeros;
      uint32_t* pairs = out + q / 2 * width;
#pragma omp simd
      for (int64_t n = 0; n < columns; ++n) pairs[n] = pair(first[n], second[n]);
    }
  } else {
    for (int64_t n = 0; n < columns; ++n) {
      const From* column = b.data + n * b.col;
      for (int64_t q = 0; q + 1 < rows; q += 2) out[q / 2 * width + n] = pair(column[q], column[q + 1]);
      if (rows % 2 != 0) out[rows / 2 * width + n] = pair(column[rows - 1], From{});
    }
  }
}

}  // namespace

Blocks Blocks::of(const Layout& wanted, int64_t Q, int64_t N) {
  struct Named {
    int64_t width;
    Tag tag;
  };
  constexpr Named kNamed[] = {
      {16, Tag::BA16a16b2a}, {32, Tag::BA16a32b2a}, {48, Tag::BA16a48b2a}, {kWidest, Tag::BA16a64b2a}};
  for (const Named& named : kNamed)
    if (wanted == layout({Q, N}, named.tag, type_of(DType::bf16))) return {Q, N, named.width};
  return {Q, N, 0};
}

template <class From>
void Blocks::fill(MatrixView<From> b, bf16* to) const {
  const int64_t groups = (N + width - 1) / width, blocks = (Q + kRows - 1) / kRows, size = kRows * width;
  // Along the operand's rows, so that it is read as it lies.
#pragma omp parallel for collapse(2) schedule(static) if (Q * N > kLight)
  for (int64_t block = 0; block < blocks; ++block) {
    for (int64_t group = 0; group < groups; ++group) {
      const int64_t q = block * kRows, n = group * width;
      fill_block(MatrixView<From>{b.data + q * b.row + n * b.col, b.row, b.col}, std::min(kRows, Q - q),
                 std::min(width, N - n), width, to + (group * blocks + block) * size);
    }
  }
}

template void Blocks::fill(MatrixView<float>, bf16*) const;
template void Blocks::fill(MatrixView<bf16>, bf16*) const;

}  // namespace sked::cpu::onednn
