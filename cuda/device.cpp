// Device::cuda for the rest of the program: is there a usable GPU, and its memory.

#include "core/device.h"

#include <cuda_profiler_api.h>

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

/// The device's compute capability as 10 · major + minor, or 0 where it cannot be asked.
int capability(int device) {
  int major = 0, minor = 0;
  if (cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) != cudaSuccess) return 0;
  if (cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device) != cudaSuccess) return 0;
  return 10 * major + minor;
}

/// No driver, no device or one older than Ampere (8.0, for which the kernels are compiled): nullptr.
Memory* open() {
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess || count == 0 || capability(0) < 80 ||
      cudaSetDevice(0) != cudaSuccess) {
    (void)cudaGetLastError();
    return nullptr;
  }
  static GpuMemory& memory = *new GpuMemory;
  return &memory;
}

[[maybe_unused]] const bool registered = (register_memory(Device::cuda, open), true);

}  // namespace
}  // namespace sked::cuda
