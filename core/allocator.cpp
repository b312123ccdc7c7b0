#include "core/allocator.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdlib>
#include <limits>

#include "core/error.h"

namespace sked {

namespace {

thread_local MemoryPool* active_pool = nullptr;

/// Blocks as large as asked for and given back at once, so that a tool that watches memory sees the end of each.
bool exact() {
  static const bool on = std::getenv("SKEDASTIC_EXACT_MEMORY") != nullptr;
  return on;
}

/// A block of `size` from a store, or nullptr.
void* take(std::map<size_t, std::vector<void*>>& blocks, size_t size) {
  const auto found = blocks.find(size);
  if (found == blocks.end() || found->second.empty()) return nullptr;
  void* pointer = found->second.back();
  found->second.pop_back();
  return pointer;
}

}  // namespace

size_t CachingAllocator::rounded(size_t bytes) {
  constexpr size_t kLine = 64, kPage = 4096;
  require(bytes <= std::numeric_limits<size_t>::max() / 4, "allocator", "expected a size below 2^62 bytes, got ",
          bytes);
  if (exact()) return std::max<size_t>(1, bytes);
  const size_t step = bytes <= kPage ? kLine : std::bit_floor(bytes) / 8;
  return std::max(kLine, (bytes + step - 1) / step * step);
}

void* CachingAllocator::allocate(size_t bytes) {
  const size_t size = rounded(bytes);
  {
    const std::lock_guard lock(mutex_);
    if (void* pointer = reuse(size)) return pointer;
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
  hand_out(pointer, size);
  return pointer;
}

void* CachingAllocator::reuse(size_t size) {
  if (active_pool && &active_pool->allocator_ == this) {
    if (void* pointer = take(active_pool->blocks_, size)) return pointer;  // counted since it came to the pool
  }
  void* pointer = take(blocks_, size);
  if (!pointer) return nullptr;
  stats_.cached -= size;
  hand_out(pointer, size);
  return pointer;
}

void CachingAllocator::hand_out(void* pointer, size_t size) {
  stats_.live += size;
  stats_.peak = std::max(stats_.peak, stats_.live);
  if (active_pool && &active_pool->allocator_ == this) owners_[pointer] = active_pool;
}

void CachingAllocator::free(void* pointer, size_t bytes) {
  const size_t size = rounded(bytes);
  const std::lock_guard lock(mutex_);
  if (const auto owner = owners_.find(pointer); owner != owners_.end()) {
    owner->second->blocks_[size].push_back(pointer);
    return;
  }
  stats_.live -= size;
  if (exact()) return sked::memory(device_).free(pointer, size);
  blocks_[size].push_back(pointer);
  stats_.cached += size;
}

void CachingAllocator::release(MemoryPool& pool) {
  std::erase_if(owners_, [&](const auto& block) { return block.second == &pool; });
  for (const auto& [size, pointers] : pool.blocks_) {
    std::vector<void*>& cache = blocks_[size];
    cache.insert(cache.end(), pointers.begin(), pointers.end());
    stats_.live -= size * pointers.size();
    stats_.cached += size * pointers.size();
  }
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
  for (auto& [size, pointers] : blocks_) {
    for (; !pointers.empty(); stats_.cached -= size) {
      memory.free(pointers.back(), size);  // where this throws, what was given back is no longer listed
      pointers.pop_back();
    }
  }
  blocks_.clear();
}

CachingAllocator& allocator(Device device) {
  // Never destroyed: tensors in static storage may outlive any order of destruction.
  static auto& list =
      *new std::array<CachingAllocator, kDevices>{CachingAllocator(Device::cpu), CachingAllocator(Device::cuda)};
  return list[static_cast<size_t>(device)];
}

MemoryPool::~MemoryPool() {
  const std::lock_guard lock(allocator_.mutex_);
  allocator_.release(*this);
}

MemoryPool::Scope::Scope(MemoryPool& pool) : before_(active_pool) { active_pool = &pool; }

MemoryPool::Scope::~Scope() { active_pool = before_; }

}  // namespace sked
