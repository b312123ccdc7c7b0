#include "core/device.h"

#include <sys/mman.h>

#include <array>
#include <cstdlib>
#include <cstring>

#include "core/error.h"

namespace sked {
namespace {

constexpr size_t kCacheLine = 64;
constexpr size_t kHugePage = size_t{2} << 20;

class CpuMemory final : public Memory {
 public:
  /// Large blocks ask for 2 MiB pages: page faults and TLB misses cost more than a small layer's arithmetic.
  void* allocate(size_t bytes) override {
    const bool huge = bytes >= 2 * kHugePage;
    void* pointer = nullptr;
    if (posix_memalign(&pointer, huge ? kHugePage : kCacheLine, bytes) != 0) return nullptr;
    if (huge) madvise(pointer, bytes, MADV_HUGEPAGE);  // advice only: a refusal costs speed, nothing else
    return pointer;
  }
  void free(void* pointer, size_t) override { std::free(pointer); }
  void copy_from_host(void* device, const void* host, size_t bytes) override { copy(device, host, bytes); }
  void copy_to_host(void* host, const void* device, size_t bytes) override { copy(host, device, bytes); }
  void copy(void* to, const void* from, size_t bytes) override {
    if (bytes > 0) std::memmove(to, from, bytes);
  }
};

std::array<Memory*, kDevices>& memories() {
  static CpuMemory cpu;
  static std::array<Memory*, kDevices> list{&cpu, nullptr};
  return list;
}

}  // namespace

void register_memory(Device device, Memory& memory) { memories()[static_cast<size_t>(device)] = &memory; }

bool is_available(Device device) { return memories()[static_cast<size_t>(device)] != nullptr; }

Memory& memory(Device device) {
  Memory* found = memories()[static_cast<size_t>(device)];
  require(found != nullptr, "device", "no ", device, " device is available to this program");
  return *found;
}

}  // namespace sked
