#include "layers/heads/class_shard.h"

#include <numeric>

#include "autograd/collective.h"
#include "core/kernels/memory.h"

namespace sked {

namespace {

/// f(root, t) for every rank `root`, t being what that rank has: `mine`, of the shape that shape_of(root) gives it.
template <class ShapeOf, class F>
void for_each_rank(Communicator& ranks, const Tensor& mine, ShapeOf&& shape_of, F&& f) {
  for (int64_t root = 0; root < ranks.size(); ++root) {
    Tensor t = root == ranks.rank() ? mine : Tensor::empty(shape_of(root), mine.dtype(), mine.device());
    ranks.broadcast(t, root);
    if (t.numel() > 0) f(root, t);
  }
}

}  // namespace

ClassShard::ClassShard(int64_t total, Communicator& ranks)
    : ClassShard(ranks.size() > 1 ? &ranks : nullptr, span_of(total, ranks.rank(), ranks.size()), total) {}

RankRows::RankRows(Communicator* ranks, int64_t mine) : ranks_(ranks), own_{0, mine}, total_(mine) {
  if (!ranks) return;
  rows_ = all_gather_number(*ranks, mine);
  own_.begin = std::accumulate(rows_.begin(), rows_.begin() + ranks->rank(), int64_t{0});
  own_.end = own_.begin + mine;
  total_ = std::accumulate(rows_.begin(), rows_.end(), int64_t{0});
}

Tensor RankRows::all(const Tensor& mine) const {
  if (!ranks_) return mine;
  Tensor all = Tensor::empty(mine.shape().with(0, total_), mine.dtype(), mine.device());
  ranks_->all_gather(mine, rows_, all);
  return all;
}

Var RankRows::gathered(const Var& mine) const { return all_gather_rows(mine, rows_, *ranks_); }

Tensor RankRows::own_classes(const Tensor& mine, const ClassShard& shard) const {
  if (!ranks_) return mine;
  Tensor result = Tensor::empty(mine.shape().with(0, total_).with(1, shard.own), mine.dtype(), mine.device());
  int64_t begin = 0;
  for_each_rank(
      *ranks_, mine, [&](int64_t root) { return mine.shape().with(0, rows_[static_cast<size_t>(root)]); },
      [&](int64_t, const Tensor& t) {
        Tensor place = result.rows(begin, begin + t.dim(0));
        kernel::slice(t, place, 1, shard.first);
        begin += t.dim(0);
      });
  return result;
}

Tensor RankRows::own_rows(const Tensor& mine, const ClassShard& shard) const {
  if (!ranks_) return mine;
  Tensor result = Tensor::empty(mine.shape().with(0, own_.size()).with(1, shard.total), mine.dtype(), mine.device());
  const auto classes_of = [&](int64_t root) { return span_of(shard.total, root, ranks_->size()); };
  for_each_rank(
      *ranks_, mine, [&](int64_t root) { return mine.shape().with(1, classes_of(root).size()); },
      [&](int64_t root, const Tensor& t) {
        if (own_.size() > 0) kernel::slice_insert(own(t), result, 1, classes_of(root).begin);
      });
  return result;
}

}  // namespace sked
