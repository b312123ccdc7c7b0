#include "core/candidates.h"

#include <array>
#include <optional>

namespace sked {
namespace {

std::optional<CandidateLists>& lists_of(Device device) {
  static std::array<std::optional<CandidateLists>, kDevices> lists;
  return lists[static_cast<size_t>(device)];
}

}  // namespace

void register_candidates(Device device, const CandidateLists& lists) { lists_of(device) = lists; }

const CandidateLists* candidates_of(Device device) {
  const std::optional<CandidateLists>& lists = lists_of(device);
  return lists ? &*lists : nullptr;
}

}  // namespace sked
