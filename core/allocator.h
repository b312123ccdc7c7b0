#pragma once
// A caching allocator per device: page faults and cudaMalloc cost more than the arithmetic of small layers.

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "core/device.h"

namespace sked {

class MemoryPool;

/// Keeps freed blocks by size and hands them out again. Thread-safe. Sizes are rounded up so that near sizes share
/// blocks: to 64 bytes below 4 KiB, else to an eighth of the next lower power of two (at most 12.5 % waste). For tools
/// that look for accesses beyond a block, SKEDASTIC_EXACT_MEMORY=1 in the environment does without either.
class CachingAllocator {
 public:
  /// All in bytes; `live` and `peak` count rounded blocks in use by tensors or set apart by a pool, `cached` the free
  /// blocks kept.
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
  friend class MemoryPool;
  using Blocks = std::map<size_t, std::vector<void*>>;  // free ones, by size

  // The caller of these holds the lock.
  void* reuse(size_t size);
  void hand_out(void* pointer, size_t size);
  void release(MemoryPool& pool);

  Device device_;
  mutable std::mutex mutex_;
  Blocks blocks_;
  std::unordered_map<void*, MemoryPool*> owners_;  // of the blocks that belong to a pool, in use or free
  Stats stats_;
};

CachingAllocator& allocator(Device device);

/// Blocks set apart, for work that is carried out again later in the same places (core/recording.h). While a Scope
/// lives, what its thread allocates belongs to the pool; a block of the pool, freed wherever, serves the pool alone.
/// With the pool they all return to the allocator's cache, those that tensors still hold when these are freed.
class MemoryPool {
 public:
  explicit MemoryPool(CachingAllocator& allocator) : allocator_(allocator) {}
  ~MemoryPool();
  MemoryPool(const MemoryPool&) = delete;
  MemoryPool& operator=(const MemoryPool&) = delete;

  class Scope {
   public:
    explicit Scope(MemoryPool& pool);
    ~Scope();
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    MemoryPool* before_;
  };

 private:
  friend class CachingAllocator;
  CachingAllocator& allocator_;
  CachingAllocator::Blocks blocks_;  // under the allocator's lock
};

}  // namespace sked
