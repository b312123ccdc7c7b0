#pragma once
// The blocks in which oneDNN's products take their right factor fastest, filled by loops of ours: its own reorders take
// two to four times as long.

#include "core/cpu/gemm.h"
#include "core/cpu/onednn.h"

namespace sked::cpu::onednn {

/// A right factor (Q,N) in bf16: columns in groups of `width`, of each group its rows, interleaved in pairs (oneDNN's
/// BA16a64b2a, or of 16, 32, 48 columns). Filled up with zeros to whole groups and to a multiple of 16 pairs.
struct Blocks {
  int64_t Q, N, width;

  /// The blocks that `wanted` asks for; of width 0 where it asks for something else.
  static Blocks of(const Layout& wanted, int64_t Q, int64_t N);

  explicit operator bool() const { return width > 0; }
  /// to = b, f32 or bf16, rounded; one stride of b is 1.
  template <class From>
  void fill(MatrixView<From> b, bf16* to) const;
};

}  // namespace sked::cpu::onednn
