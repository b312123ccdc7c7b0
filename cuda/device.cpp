// Device::cuda for the rest of the program: is there a usable GPU, and its memory.

#include "core/device.h"

#include <cuda_profiler_api.h>

#include <string>

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
  cudaDeviceProp card{};
  if (const cudaError_t asked = cudaGetDeviceProperties(&card, 0); asked != cudaSuccess) return says(asked);
  if (card.major < 8) {
    return "device 0, " + std::string(card.name) + ", has compute capability " + std::to_string(card.major) + "." +
           std::to_string(card.minor) + ", expected at least 8.0 (CUDA_VISIBLE_DEVICES chooses another)";
  }
  const cudaError_t set = cudaSetDevice(0);
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

[[maybe_unused]] const bool registered = (register_memory(Device::cuda, open), true);

}  // namespace
}  // namespace sked::cuda
