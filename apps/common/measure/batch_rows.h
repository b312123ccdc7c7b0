#pragma once
// A batch of an evaluation, divided by rows among ranks.

#include <cstdint>
#include <vector>

#include "core/communicator.h"
#include "data/loader.h"

namespace sked {

/// Which rows of a batch each rank has. One that has none computes a row all the same, which stands in for none: its
/// result is left out, and no network, head or collective meets an empty batch.
class BatchRows {
 public:
  /// This process has all of them.
  explicit BatchRows(int64_t rows) : ranks_(alone()), counts_{rows}, total_(rows), mine_{0, rows} {}
  /// Makes known to every rank what all of them have: `batch`, of this rank's rows, becomes that of all but for images,
  /// of which a rank without rows gets one of zeros, and captions. A collective.
  BatchRows(Communicator& ranks, Batch& batch);

  int64_t total() const { return total_; }
  /// This rank's.
  Span mine() const { return mine_; }
  /// The rows of the whole batch, on the CPU, of `rows` (B/N, …), which were computed of this rank's. A collective.
  Tensor gathered(const Tensor& rows) const;
  /// This rank's of (B, …): one where it has none.
  Tensor own(const Tensor& rows) const;

  /// Some of what this rank computes.
  struct Piece {
    int64_t begin, end;  // from its first row, which is 0
    bool stands_in;
  };
  /// In pieces of `most` rows or fewer: as many on every rank.
  std::vector<Piece> pieces(int64_t most) const;

 private:
  Communicator& ranks_;
  std::vector<int64_t> counts_;
  int64_t total_ = 0;
  Span mine_;
};

/// Sums over ranks, in double. A collective.
void add_over(Communicator& ranks, std::vector<double>& sums);

}  // namespace sked
