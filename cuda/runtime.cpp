#include "cuda/runtime.h"

#include "core/error.h"

namespace sked::cuda {

void check(cudaError_t status, const char* call, const char* file, int line) {
  if (status == cudaSuccess) return;
  (void)cudaGetLastError();  // an error that does not poison the context is not reported again by a later check
  fail("cuda", call, " at ", file, ":", line, ": ", cudaGetErrorString(status));
}

Stream::Stream() { SKED_CUDA(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking)); }

void Stream::synchronize() const { SKED_CUDA(cudaStreamSynchronize(stream_)); }

const Stream& compute_stream() {
  static const Stream& stream = *new Stream;
  return stream;
}

Event::Event() { SKED_CUDA(cudaEventCreate(&event_)); }

Event::~Event() {
  if (event_) (void)cudaEventDestroy(event_);  // it cannot fail in a way that a destructor could mend
}

void Event::record(const Stream& stream) { SKED_CUDA(cudaEventRecord(event_, stream.get())); }

void Event::wait() const { SKED_CUDA(cudaEventSynchronize(event_)); }

void Event::block(const Stream& stream) const { SKED_CUDA(cudaStreamWaitEvent(stream.get(), event_, 0)); }

double Event::seconds_since(const Event& start) const {
  wait();
  float milliseconds = 0;
  SKED_CUDA(cudaEventElapsedTime(&milliseconds, start.event_, event_));
  return static_cast<double>(milliseconds) * 1e-3;
}

int multiprocessors() {
  static const int count = [] {
    int device = 0, number = 0;
    SKED_CUDA(cudaGetDevice(&device));
    SKED_CUDA(cudaDeviceGetAttribute(&number, cudaDevAttrMultiProcessorCount, device));
    return number;
  }();
  return count;
}

namespace {

Fault& shared_fault() {
  static Fault& fault = *[] {
    void* pointer = nullptr;
    SKED_CUDA(cudaHostAlloc(&pointer, sizeof(Fault), cudaHostAllocMapped | cudaHostAllocPortable));
    return new (pointer) Fault{};
  }();
  return fault;
}

}  // namespace

FaultSite fault_site(const char* where) { return {&shared_fault(), where}; }  // one address space: no translation

void raise_faults() {
  Fault& shared = shared_fault();
  if (shared.taken == 0) return;
  const Fault fault = shared;
  shared = Fault{};
  fail(fault.where, "expected indices in 0 to ", fault.limit - 1, ", got ", fault.value, " in row ", fault.row);
}

}  // namespace sked::cuda
