#pragma once
// The CUDA runtime as this backend uses it: checked calls, one stream, events, faults that kernels report.
//
// Order. All kernels and all copies within the device go to one stream, in the order of the calls: a block that the
// caching allocator takes back and hands out again is written only after everything that used it before. Copies from
// the host run on a stream of their own and only into buffers of their own (transfer.h).

#include <cuda_runtime.h>

#include <cstdint>

namespace sked::cuda {

/// Throws Error `[cuda] <call> at <file>:<line>: <what CUDA says>` unless `status` is success.
void check(cudaError_t status, const char* call, const char* file, int line);

#define SKED_CUDA(call) ::sked::cuda::check((call), #call, __FILE__, __LINE__)

/// An ordered queue of work on the device. Never destroyed: the driver may be gone before static objects are.
class Stream {
 public:
  Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  cudaStream_t get() const { return stream_; }
  void synchronize() const;

 private:
  cudaStream_t stream_ = nullptr;
};

/// Where kernels run. Made at the first use, on the current device.
const Stream& compute_stream();

/// A point in a stream's work.
class Event {
 public:
  Event();
  ~Event();
  Event(Event&& other) noexcept : event_(other.event_) { other.event_ = nullptr; }
  Event& operator=(Event&&) = delete;

  void record(const Stream& stream);
  /// The host waits until the recorded work is done; at once where nothing was recorded.
  void wait() const;
  /// `stream` does nothing more until the recorded work is done.
  void block(const Stream& stream) const;
  /// Seconds from `start` to this; waits for both.
  double seconds_since(const Event& start) const;

 private:
  cudaEvent_t event_ = nullptr;
};

/// Multiprocessors of the current device.
int multiprocessors();

/// The first wrong index a kernel met since the last look. It lies in memory that host and device share.
struct Fault {
  unsigned taken;
  const char* where;
  int64_t row, value, limit;
};

/// What a kernel needs to report one.
struct FaultSite {
  Fault* fault;
  const char* where;  // the operation: a host pointer, which the device only passes on
};
FaultSite fault_site(const char* where);

/// After synchronizing: throws `[where] expected indices in 0 … limit − 1, got value in row …` where a kernel reported
/// it, and forgets it.
void raise_faults();

}  // namespace sked::cuda
