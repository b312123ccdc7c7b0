// Device::cuda for the rest of the program: is there a usable GPU, and its memory.

#include "core/device.h"

#include <cuda_profiler_api.h>

#include <string>

#include "core/device_ranks.h"
#include "core/error.h"
#include "cuda/recording.h"
#include "cuda/runtime.h"
#include "cuda/transfer.h"

namespace sked::cuda {
namespace {

class GpuMemory final : public Memory {
 public:
  void* allocate(size_t bytes) override {
    void* pointer = nullptr;
    const cudaError_t status = cudaMalloc(&pointer, bytes);  // 256-byte aligned
    if (status == cudaErrorMemoryAllocation) {
      (void)cudaGetLastError();  // it is dealt with here
      return nullptr;
    }
    check(status, "cudaMalloc", __FILE__, __LINE__);
    return pointer;
  }
  void free(void* pointer, size_t) override {
    refuse_in_recording("giving memory back because the device is full");  // it would wait for the device
    SKED_CUDA(cudaFree(pointer));
  }
  void copy_from_host(void* device, const void* host, size_t bytes) override {
    cuda::copy_from_host(device, host, bytes);
  }
  void copy_to_host(void* host, const void* device, size_t bytes) override { cuda::copy_to_host(host, device, bytes); }
  void copy(void* to, const void* from, size_t bytes) override { cuda::copy(to, from, bytes); }
  void synchronize() override {
    refuse_in_recording("waiting for the device");
    compute_stream().synchronize();
    raise_faults();
  }
  void profile(bool on) override { SKED_CUDA(on ? cudaProfilerStart() : cudaProfilerStop()); }
};

int64_t own_card = 0;  // of those that this process sees

/// A driver that is none or too old, no device, or a card older than Ampere (8.0, for which the kernels are compiled).
std::string why_unusable() {
  const auto says = [](cudaError_t status) { return std::string("CUDA says: ") + cudaGetErrorString(status); };
  int driver = 0, runtime = 0, count = 0;
  if (cudaDriverGetVersion(&driver) == cudaSuccess && driver == 0) return "no NVIDIA driver is installed";
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status == cudaErrorInsufficientDriver && cudaRuntimeGetVersion(&runtime) == cudaSuccess) {
    const auto version = [](int number) {
      return std::to_string(number / 1000) + "." + std::to_string(number % 1000 / 10);
    };
    return "the NVIDIA driver is too old: it serves CUDA " + version(driver) + ", this program wants " +
           version(runtime);
  }
  if (status != cudaSuccess) return says(status);
  if (count == 0) return "CUDA finds no device";
  if (own_card >= count) {
    return "there are " + std::to_string(count) + " GPUs for " + std::to_string(own_card + 1) +
           " ranks or more on this machine: expected one rank a GPU";
  }
  const int own = static_cast<int>(own_card);
  cudaDeviceProp card{};
  if (const cudaError_t asked = cudaGetDeviceProperties(&card, own); asked != cudaSuccess) return says(asked);
  if (card.major < 8) {
    return "device " + std::to_string(own) + ", " + std::string(card.name) + ", has compute capability " +
           std::to_string(card.major) + "." + std::to_string(card.minor) +
           ", expected at least 8.0 (CUDA_VISIBLE_DEVICES chooses another)";
  }
  const cudaError_t set = cudaSetDevice(own);
  return set == cudaSuccess ? "" : says(set);
}

Memory* open(std::string& reason) {
  reason = why_unusable();
  if (!reason.empty()) {
    (void)cudaGetLastError();  // it is dealt with here
    return nullptr;
  }
  static GpuMemory& memory = *new GpuMemory;
  return &memory;
}

std::string seen() {
  int count = 0;
  std::string names;
  if (cudaGetDeviceCount(&count) != cudaSuccess) count = 0;
  for (int i = 0; i < count; ++i) {
    char name[32] = {};
    if (cudaDeviceGetPCIBusId(name, sizeof name, i) == cudaSuccess) names += std::string(name) + " ";
  }
  (void)cudaGetLastError();  // why there are none is open()'s to say
  return names;
}

[[maybe_unused]] const bool registered =
    (register_memory(Device::cuda, open),
     register_cards(Device::cuda, {.seen = seen, .take = [](int64_t number) { own_card = number; }}), true);

}  // namespace
}  // namespace sked::cuda
