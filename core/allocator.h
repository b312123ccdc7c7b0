#pragma once
// A caching allocator per device: page faults and cudaMalloc cost more than the arithmetic of small layers.

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <vector>

#include "core/device.h"

namespace sked {

/// Keeps freed blocks by size and hands them out again. Thread-safe. Sizes are rounded up so that near sizes share
/// blocks: to 64 bytes below 4 KiB, else to an eighth of the next lower power of two (at most 12.5 % waste).
class CachingAllocator {
 public:
  /// All in bytes; `live` and `peak` count rounded blocks in use by tensors, `cached` the free blocks kept.
  struct Stats {
    size_t live = 0, peak = 0, cached = 0;
  };

  explicit CachingAllocator(Device device) : device_(device) {}

  /// 64-byte aligned. Frees its cache and tries again before it throws Error naming the size and what is live.
  void* allocate(size_t bytes);
  void free(void* pointer, size_t bytes);

  Stats stats() const;
  /// Peak becomes what is live now.
  void reset_peak();
  /// Gives every cached block back to the system.
  void release_cache();

  static size_t rounded(size_t bytes);

 private:
  Device device_;
  mutable std::mutex mutex_;
  std::map<size_t, std::vector<void*>> blocks_;
  Stats stats_;
};

CachingAllocator& allocator(Device device);

}  // namespace sked
