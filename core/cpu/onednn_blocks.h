#pragma once
// The blocks in which oneDNN's products take their right factor fastest, filled by loops of ours: its own reorders take
// two to four times as long.

#include "core/cpu/gemm.h"
#include "core/cpu/onednn.h"

namespace sked::cpu::onednn {

/// A right factor (Q,N): columns in groups of `width`, of each group its rows, which in bf16 are interleaved in pairs
/// (oneDNN's BA16a64b and BA16a64b2a, or of 16, 32, 48 columns). Filled up with zeros to whole groups and to a multiple
/// of 16 rows or pairs.
struct Blocks {
  int64_t Q, N, width;

  /// The blocks that `wanted` asks of factors of `type`; of width 0 where it asks for something else.
  static Blocks of(const Layout& wanted, int64_t Q, int64_t N, DType type);

  explicit operator bool() const { return width > 0; }
  /// to = b, rounded where it is stored wider; one stride of b is 1.
  template <class From, class To>
  void fill(MatrixView<From> b, To* to) const;
};

}  // namespace sked::cpu::onednn
