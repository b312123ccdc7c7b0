#include "core/allocator.h"

#include <algorithm>
#include <array>
#include <bit>
#include <limits>

#include "core/error.h"

namespace sked {

size_t CachingAllocator::rounded(size_t bytes) {
  constexpr size_t kLine = 64, kPage = 4096;
  require(bytes <= std::numeric_limits<size_t>::max() / 4, "allocator", "expected a size below 2^62 bytes, got ",
          bytes);
  const size_t step = bytes <= kPage ? kLine : std::bit_floor(bytes) / 8;
  return std::max(kLine, (bytes + step - 1) / step * step);
}

void* CachingAllocator::allocate(size_t bytes) {
  const size_t size = rounded(bytes);
  {
    const std::lock_guard lock(mutex_);
    auto found = blocks_.find(size);
    if (found != blocks_.end() && !found->second.empty()) {
      void* pointer = found->second.back();
      found->second.pop_back();
      stats_.cached -= size;
      stats_.live += size;
      stats_.peak = std::max(stats_.peak, stats_.live);
      return pointer;
    }
  }
  Memory& memory = sked::memory(device_);
  void* pointer = memory.allocate(size);
  if (!pointer) {
    release_cache();
    pointer = memory.allocate(size);
  }
  const std::lock_guard lock(mutex_);
  require(pointer != nullptr, "allocator", "cannot allocate ", size, " bytes on ", device_, ": ", stats_.live,
          " bytes are in use");
  stats_.live += size;
  stats_.peak = std::max(stats_.peak, stats_.live);
  return pointer;
}

void CachingAllocator::free(void* pointer, size_t bytes) {
  const size_t size = rounded(bytes);
  const std::lock_guard lock(mutex_);
  blocks_[size].push_back(pointer);
  stats_.live -= size;
  stats_.cached += size;
}

CachingAllocator::Stats CachingAllocator::stats() const {
  const std::lock_guard lock(mutex_);
  return stats_;
}

void CachingAllocator::reset_peak() {
  const std::lock_guard lock(mutex_);
  stats_.peak = stats_.live;
}

void CachingAllocator::release_cache() {
  const std::lock_guard lock(mutex_);
  Memory& memory = sked::memory(device_);
  for (const auto& [size, pointers] : blocks_) {
    for (void* pointer : pointers) memory.free(pointer, size);
  }
  blocks_.clear();
  stats_.cached = 0;
}

CachingAllocator& allocator(Device device) {
  // Never destroyed: tensors in static storage may outlive any order of destruction.
  static auto& list =
      *new std::array<CachingAllocator, kDevices>{CachingAllocator(Device::cpu), CachingAllocator(Device::cuda)};
  return list[static_cast<size_t>(device)];
}

}  // namespace sked
