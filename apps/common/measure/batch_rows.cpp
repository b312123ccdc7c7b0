#include "apps/common/measure/batch_rows.h"

#include <algorithm>

namespace sked {

BatchRows::BatchRows(Communicator& ranks, Batch& batch) : ranks_(ranks) {
  const int64_t rows = batch.indices.dim(0);
  if (ranks.size() == 1) {
    counts_ = {total_ = rows}, mine_ = {0, rows};
    return;
  }
  const Tensor both =
      all_gather_rows(ranks, Tensor::from(std::vector<int64_t>{rows, std::ssize(batch.skipped)}, {1, 2}));
  bool any_skipped = false;
  for (int64_t rank = 0; rank < ranks.size(); ++rank) {
    if (rank == ranks.rank()) mine_ = {total_, total_ + rows};
    counts_.push_back(both.data<int64_t>()[2 * rank]);
    total_ += counts_.back();
    any_skipped = any_skipped || both.data<int64_t>()[2 * rank + 1] > 0;
  }
  for (Tensor* t : {&batch.labels, &batch.targets, &batch.distributions, &batch.indices})
    if (t->defined()) *t = gathered(*t);
  if (any_skipped) batch.skipped = all_gather_skipped(ranks, batch.skipped);
  if (rows == 0) batch.images = Tensor::zeros(batch.images.shape().with(0, 1), batch.images.dtype());
}

Tensor BatchRows::gathered(const Tensor& rows) const {
  if (ranks_.size() == 1) return rows.to(Device::cpu);
  Tensor all = Tensor::empty(rows.shape().with(0, total_), rows.dtype());
  ranks_.all_gather(rows.to(Device::cpu).rows(0, mine_.size()), counts_, all);
  return all;
}

Tensor BatchRows::own(const Tensor& rows) const {
  return mine_.size() > 0 ? rows.rows(mine_.begin, mine_.end) : rows.rows(0, 1);
}

std::vector<BatchRows::Piece> BatchRows::pieces(int64_t most) const {
  const int64_t rows = *std::ranges::max_element(counts_), count = (rows + most - 1) / most;
  std::vector<Piece> all;
  for (int64_t i = 0; i < count; ++i) {
    const Span span = span_of(mine_.size(), i, count);
    all.push_back({span.begin, span.end, false});
    if (span.size() == 0) all.back() = {0, 1, true};
  }
  return all;
}

void add_over(Communicator& ranks, std::vector<double>& sums) {
  if (ranks.size() == 1) return;
  Tensor all = Tensor::from(sums, {std::ssize(sums)});
  ranks.all_reduce(all);
  sums = all.to_vector<double>();
}

}  // namespace sked
