#include "core/device_ranks.h"

#include <array>
#include <optional>

namespace sked {
namespace {

template <class T>
std::optional<T>& entry(Device device) {
  static std::array<std::optional<T>, kDevices> list;
  return list[static_cast<size_t>(device)];
}

template <class T>
const T* find(Device device) {
  const std::optional<T>& found = entry<T>(device);
  return found ? &*found : nullptr;
}

}  // namespace

void register_cards(Device device, const Cards& cards) { entry<Cards>(device) = cards; }
void register_ranks(Device device, const DeviceRanks& ranks) { entry<DeviceRanks>(device) = ranks; }

const Cards* cards_of(Device device) { return find<Cards>(device); }
const DeviceRanks* ranks_of(Device device) { return find<DeviceRanks>(device); }

}  // namespace sked
