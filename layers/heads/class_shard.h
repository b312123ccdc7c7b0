#pragma once
// Classes divided among ranks (METHOD.md, "Classes over ranks"): which of them a rank has, and the ways between its own
// rows of a batch and its own classes. K classes, B rows of all ranks together.

#include <cstdint>
#include <vector>

#include "autograd/var.h"
#include "core/communicator.h"

namespace sked {

/// The classes [first, first + own) of `total`, which are this rank's.
struct ClassShard {
  Communicator* ranks = nullptr;  // null: nothing is divided, this process has all
  int64_t first = 0, own = 0, total = 0;

  ClassShard() = default;
  /// All of them, nothing being divided.
  ClassShard(int64_t total) : own(total), total(total) {}
  /// span_of(total, rank, size); all of them for one rank.
  ClassShard(int64_t total, Communicator& ranks);
  /// Those that go with this rank's `rows` of a batch.
  ClassShard(Communicator* ranks, Span rows, int64_t total)
      : ranks(ranks), first(rows.begin), own(rows.size()), total(total) {}

  bool divided() const { return ranks != nullptr; }
  /// Rows of a tensor that has `each` for every class.
  Span rows(int64_t each = 1) const { return {first * each, (first + own) * each}; }
  /// The same of a parameter.
  RowShard row_shard(int64_t each = 1) const { return divided() ? RowShard{first * each, total * each} : RowShard{}; }
};

/// The rows of a batch, some of them on every rank. Where `ranks` is null they are all here, and everything below gives
/// back what it gets; else all but own() is a collective.
class RankRows {
 public:
  /// `mine`: how many this rank has, which may be none.
  RankRows(Communicator* ranks, int64_t mine);

  /// B.
  int64_t total() const { return total_; }
  Span own() const { return own_; }
  /// This rank's rows of (B,…).
  Tensor own(const Tensor& all) const { return all.rows(own_.begin, own_.end); }

  /// (B,…): the rows of all ranks.
  Tensor all(const Tensor& mine) const;
  /// The same on the tape (all_gather_rows).
  Var all(const Var& mine) const { return ranks_ ? gathered(mine) : mine; }

  /// From this rank's rows of all classes (own rows,K,…) to all rows of its classes (B,own classes,…). No rank has more
  /// than another's rows of all classes at once.
  Tensor own_classes(const Tensor& mine, const ClassShard& shard) const;
  /// The way back.
  Tensor own_rows(const Tensor& mine, const ClassShard& shard) const;

 private:
  Var gathered(const Var& mine) const;

  Communicator* ranks_;
  std::vector<int64_t> rows_;  // of each rank
  Span own_;
  int64_t total_;
};

}  // namespace sked
