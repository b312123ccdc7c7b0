#include "core/device.h"

#include <sys/mman.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <mutex>

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

Memory* open_cpu(std::string&) {
  static CpuMemory cpu;
  return &cpu;
}

/// A device, opened when it is first asked for.
struct Entry {
  Memory* (*open)(std::string& reason) = nullptr;
  Memory* memory = nullptr;
  std::string reason = {};
  std::once_flag once = {};
};

Entry& entry(Device device) {
  static std::array<Entry, kDevices> list{{{.open = open_cpu}}};
  return list[static_cast<size_t>(device)];
}

const Entry& find(Device device) {
  Entry& e = entry(device);
  std::call_once(e.once, [&] { e.memory = e.open ? e.open(e.reason) : nullptr; });
  return e;
}

}  // namespace

void register_memory(Device device, Memory* (*open)(std::string& reason)) { entry(device).open = open; }

bool is_available(Device device) { return find(device).memory != nullptr; }

const std::string& reason_unavailable(Device device) { return find(device).reason; }

Memory& memory(Device device) {
  const Entry& found = find(device);
  require(found.memory != nullptr, "device", "no ", device, " device is available to this program",
          found.reason.empty() ? "" : ": ", found.reason);
  return *found.memory;
}

}  // namespace sked
