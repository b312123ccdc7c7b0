#pragma once
// Any number of ranks of which this process is one: what it sends is counted (core/work_count.h) and goes nowhere.

#include <cstdlib>

#include "core/communicator.h"

namespace sked::scale {

/// The last of `size` ranks, which has the largest share of everything (span_of). Integers are gathered as if every
/// rank had the same, so that shapes that follow from them come out; other elements are left as they are, as within a
/// DryRun.
class DryRanks final : public Communicator {
 public:
  /// Throws UsageError for less than 1 rank.
  explicit DryRanks(int64_t size);

  int64_t rank() const override { return size_ - 1; }
  int64_t size() const override { return size_; }
  [[noreturn]] void abort(int status) override { std::_Exit(status); }

 protected:
  void do_all_reduce(Tensor&, Reduction) override {}
  void do_start_all_reduce(const Tensor&) override {}
  void do_poke() override {}
  void do_finish() override {}
  void do_all_gather(const Tensor& mine, const std::vector<int64_t>& rows, Tensor& all) override;
  void do_reduce_scatter(const Tensor&, const std::vector<int64_t>&, Tensor&) override {}
  void do_broadcast(Tensor&, int64_t) override {}
  void do_barrier() override {}

 private:
  int64_t size_;
};

}  // namespace sked::scale
