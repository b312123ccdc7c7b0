#include "cuda/transfer.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <mutex>

#include "core/allocator.h"
#include "core/error.h"
#include "core/work_count.h"
#include "cuda/recording.h"
#include "cuda/runtime.h"

namespace sked::cuda {
namespace {

constexpr size_t kSlots = 6;  // images, labels and indices of two batches

/// A pair of buffers of the same size, grown as needed.
class Slot {
 public:
  /// Carries out one copy. The caller holds the lock.
  void copy(void* device, const void* host, size_t bytes, const Stream& bus) {
    free_.wait();  // the kernels' stream has taken out what was here before
    reserve(bytes);
    std::memcpy(host_, host, bytes);
    SKED_CUDA(cudaMemcpyAsync(device_, host_, bytes, cudaMemcpyHostToDevice, bus.get()));
    arrived_.record(bus);
    arrived_.block(compute_stream());
    SKED_CUDA(cudaMemcpyAsync(device, device_, bytes, cudaMemcpyDeviceToDevice, compute_stream().get()));
    free_.record(compute_stream());
  }

 private:
  void reserve(size_t bytes) {
    if (bytes <= bytes_) return;
    if (host_) SKED_CUDA(cudaFreeHost(host_));
    if (device_) SKED_CUDA(cudaFree(device_));
    host_ = device_ = nullptr;
    bytes_ = 0;
    const size_t size = std::bit_ceil(std::max<size_t>(bytes, 4096));
    SKED_CUDA(cudaMallocHost(&host_, size));
    device_ = memory(Device::cuda).allocate(size);
    if (!device_) {
      allocator(Device::cuda).release_cache();
      device_ = memory(Device::cuda).allocate(size);
      require(device_ != nullptr, "cuda", "no memory for a copy of ", bytes, " bytes from the host");
    }
    bytes_ = size;
  }

  void *host_ = nullptr, *device_ = nullptr;
  size_t bytes_ = 0;
  Event arrived_, free_;
};

/// Never destroyed, like the streams.
struct Ring {
  std::mutex mutex;
  Stream bus;
  std::array<Slot, kSlots> slots;
  size_t next = 0;
};

Ring& ring() {
  static Ring& instance = *new Ring;
  return instance;
}

}  // namespace

void copy_from_host(void* device, const void* host, size_t bytes) {
  if (bytes == 0) return;
  refuse_in_recording("a copy from the host");
  const WorkCount::Call call("copy_from_host", Device::cuda,
                             [&] { return WorkCount::Entry{.calls = 1, .bytes = static_cast<int64_t>(bytes)}; });
  // Beyond this a pinned copy of the whole is no longer cheap: the driver pages it through its own buffers.
  constexpr size_t kLargest = size_t{256} << 20;
  if (bytes > kLargest) {
    SKED_CUDA(cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, compute_stream().get()));
    compute_stream().synchronize();  // the host's bytes may change after the call
    return;
  }
  Ring& r = ring();
  const std::lock_guard lock(r.mutex);
  r.slots[r.next++ % kSlots].copy(device, host, bytes, r.bus);
}

void copy_to_host(void* host, const void* device, size_t bytes) {
  refuse_in_recording("a copy to the host");
  if (bytes > 0) {
    SKED_CUDA(cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, compute_stream().get()));
  }
  compute_stream().synchronize();
  raise_faults();
}

void copy(void* to, const void* from, size_t bytes) {
  if (bytes == 0) return;
  count_launch("copy");
  SKED_CUDA(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, compute_stream().get()));
}

}  // namespace sked::cuda
