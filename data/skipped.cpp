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
  std::string messages;  // each with a zero behind it
  for (const Skipped& image : mine) {
    indices.push_back(image.index);
    messages.append(image.message).push_back('\0');
  }
  const Tensor all = all_gather_rows(ranks, Tensor::from(indices, {static_cast<int64_t>(indices.size())}));
  std::vector<Skipped> skipped;
  for (const std::string& text : all_gather_text(ranks, messages)) {
    for (size_t begin = 0, end = 0; begin < text.size(); begin = end + 1) {
      end = text.find('\0', begin);
      skipped.push_back({all.data<int64_t>()[skipped.size()], text.substr(begin, end - begin)});
    }
  }
  return skipped;
}

}  // namespace sked
