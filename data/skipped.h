#pragma once
// Images that could not be used, counted against a limit: of one Loader, or of the loaders of all ranks.

#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "core/communicator.h"

namespace sked {

/// An image that could not be used, and why.
struct Skipped {
  int64_t index = 0;  // in the dataset
  std::string message;
};

/// Counts them batch by batch, in the order of the batches: the same error for any number of workers and ranks.
class SkipCount {
 public:
  /// At most `limit` different ones; `on_skip` is called with each, once.
  SkipCount(int64_t limit, std::function<void(const Skipped&)> on_skip) : limit_(limit), on_skip_(std::move(on_skip)) {}

  /// An epoch begins; in its middle it may have had images.
  void start(bool in_the_middle) { usable_ = in_the_middle; }
  /// A batch of so many images, and what it leaves out; the `last` of the epoch? Throws Error for one more than the
  /// limit, naming it, and at the end of an epoch without a single image.
  void add(int64_t images, const std::vector<Skipped>& skipped, bool last);
  int64_t count() const { return static_cast<int64_t>(indices_.size()); }

 private:
  int64_t limit_;
  std::function<void(const Skipped&)> on_skip_;
  std::set<int64_t> indices_;
  bool usable_ = false;
};

/// What every rank leaves out of a batch, in the order of ranks.
std::vector<Skipped> all_gather_skipped(Communicator& ranks, const std::vector<Skipped>& mine);

}  // namespace sked
