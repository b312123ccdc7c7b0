#pragma once
// Where a tensor lives, and how its device's memory is reached.

#include <cstddef>
#include <cstdint>
#include <ostream>
#include <string>

namespace sked {

enum class Device : uint8_t { cpu, cuda };
inline constexpr int kDevices = 2;

constexpr const char* name(Device device) { return device == Device::cpu ? "cpu" : "cuda"; }
inline std::ostream& operator<<(std::ostream& out, Device device) { return out << name(device); }

/// Raw memory of one device. The CPU's is built in; a backend adds its own with register_memory().
class Memory {
 public:
  virtual ~Memory() = default;
  /// Returns nullptr when the device has no `bytes` left. At least 64-byte aligned.
  virtual void* allocate(size_t bytes) = 0;
  virtual void free(void* pointer, size_t bytes) = 0;
  virtual void copy_from_host(void* device, const void* host, size_t bytes) = 0;
  virtual void copy_to_host(void* host, const void* device, size_t bytes) = 0;
  /// Device to device.
  virtual void copy(void* to, const void* from, size_t bytes) = 0;
  /// Returns when everything asked of the device is done; throws what went wrong there meanwhile.
  virtual void synchronize() {}
  /// A profiler that waits for it (`ncu --profile-from-start off`) looks at what is asked of the device from
  /// profile(true) to profile(false).
  virtual void profile(bool) {}
};

/// Makes `device` known. `open` is called once, at the first need (drivers must not be touched before main). Where this
/// machine has no such device it returns nullptr and says why in `reason`, in one line without a full stop; what it
/// returns must outlive every tensor on it.
void register_memory(Device device, Memory* (*open)(std::string& reason));

/// Can tensors live on `device` in this process? Always true for the CPU.
bool is_available(Device device);
/// Why not: what its backend said; empty where it is available or no backend was built in.
const std::string& reason_unavailable(Device device);

/// Throws Error naming the device, and the reason, where it is not available.
Memory& memory(Device device);

}  // namespace sked
