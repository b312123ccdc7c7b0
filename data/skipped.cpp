#include "data/skipped.h"

#include "core/error.h"

namespace sked {

void SkipCount::add(int64_t images, const std::vector<Skipped>& skipped, bool last) {
  for (const Skipped& image : skipped) {
    if (!indices_.insert(image.index).second) continue;
    require(count() <= limit_, "loader", image.message, " (corrupt images so far: ", count(), ", data.skip_limit is ",
            limit_, ": so many may be passed over)");
    if (on_skip_) on_skip_(image);
  }
  usable_ = usable_ || images > 0;
  if (!usable_ && last) fail("loader", "no image of the epoch could be used, the last: ", skipped.back().message);
}

std::vector<Skipped> all_gather_skipped(Communicator& ranks, const std::vector<Skipped>& mine) {
  if (ranks.size() == 1) return mine;
  std::vector<int64_t> indices;
  std::vector<std::string> messages;
  for (const Skipped& image : mine) {
    indices.push_back(image.index);
    messages.push_back(image.message);
  }
  const Tensor all = all_gather_rows(ranks, Tensor::from(indices, {std::ssize(indices)}));
  std::vector<Skipped> skipped;
  for (std::string& message : all_gather_texts(ranks, messages))
    skipped.push_back({all.data<int64_t>()[skipped.size()], std::move(message)});
  return skipped;
}

}  // namespace sked
