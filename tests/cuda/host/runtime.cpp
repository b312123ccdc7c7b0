// The calls of the CUDA runtime. Streams do what they are asked as late as they may, so that whoever reads or frees
// something too early is found.

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <vector>

#include "cuda_runtime.h"

/// A graph is what a stream was asked while it was captured.
struct CUgraph_st {
  std::vector<std::function<void()>> work;
};
struct CUstream_st {
  std::unique_ptr<CUgraph_st> captured;
  std::deque<std::function<void()>> asked;  // and not done yet
  uint64_t done = 0;                        // of all that it was asked
};
/// A point in a stream's work: of none before it is recorded.
struct CUevent_st {
  CUstream_st* stream = nullptr;
  uint64_t number = 0;
  std::shared_ptr<std::chrono::steady_clock::time_point> reached;
};

namespace {

/// Machines that tests ask for: CUDA_ON_HOST_DRIVER (13000 is CUDA 13.0; 0: none), CUDA_ON_HOST_CAPABILITY (80 is 8.0).
int wanted(const char* variable, int otherwise) {
  const char* value = std::getenv(variable);
  return value ? std::atoi(value) : otherwise;
}

constexpr int kRuntime = 13000;

/// A kernel wrote where nothing is: no call succeeds any more. From when on CUDA_ON_HOST_DIES is set, which a test
/// does.
bool dead() {
  static std::atomic<bool> died = false;
  if (!died && std::getenv("CUDA_ON_HOST_DIES")) died = true;
  return died;
}
cudaError_t unless_dead() { return dead() ? cudaErrorIllegalAddress : cudaSuccess; }

// ---- streams -------------------------------------------------------------------------------------

/// Held by every call: several threads of the host may make them. Recursive, since work waits for other work.
std::recursive_mutex calls;
/// All there are. None is ever destroyed.
std::vector<CUstream_st*> streams;
/// Address and size of what was allocated: on the device, and host memory that the device may read and write after a
/// call has returned.
std::map<uintptr_t, size_t> on_device, pinned;

/// The first `number` of all that the stream was asked are done when this returns. What they wait for was asked before
/// them, so this ends.
void reach(CUstream_st& stream, uint64_t number) {
  while (!dead() && stream.done < number) {
    const std::function<void()> work = std::move(stream.asked.front());
    stream.asked.pop_front();
    work();
    ++stream.done;
  }
}
uint64_t asked(const CUstream_st& stream) { return stream.done + stream.asked.size(); }
void finish(CUstream_st& stream) { reach(stream, asked(stream)); }

/// What a card may have got done by now: nothing, the least; everything with CUDA_LAUNCH_BLOCKING=1, as on a card; with
/// CUDA_ON_HOST_SEED some of each stream's work, different for every seed.
void go_on() {
  static const bool at_once = wanted("CUDA_LAUNCH_BLOCKING", 0) == 1;
  static const int seed = wanted("CUDA_ON_HOST_SEED", -1);
  static std::minstd_rand random(static_cast<unsigned>(seed + 1));
  for (size_t i = 0; i < streams.size() && (at_once || seed >= 0); ++i) {
    CUstream_st& stream = *streams[i];
    reach(stream, at_once ? asked(stream) : stream.done + random() % (stream.asked.size() + 1));
  }
}

bool holds(const std::map<uintptr_t, size_t>& blocks, uintptr_t at, size_t bytes) {
  const auto after = blocks.upper_bound(at);
  if (after == blocks.begin()) return false;
  const auto& [first, size] = *std::prev(after);
  return at - first <= size && bytes <= size - (at - first);
}

}  // namespace

bool cuda_on_host::is_device_memory(uintptr_t at, size_t bytes) {
  return holds(on_device, at, bytes) || holds(pinned, at, bytes);
}

cudaError_t cuda_on_host::submit(cudaStream_t stream, std::function<void()> work) {
  const std::lock_guard lock(calls);
  if (dead()) return cudaErrorIllegalAddress;
  if (stream->captured) {
    stream->captured->work.push_back(std::move(work));
  } else {
    stream->asked.push_back(std::move(work));
    go_on();
  }
  return cudaSuccess;
}

const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "no error";
    case cudaErrorNoDevice:
      return "no CUDA-capable device is detected";
    case cudaErrorIllegalAddress:
      return "an illegal memory access was encountered";
    case cudaErrorStreamCaptureUnsupported:
      return "operation not permitted when stream is capturing";
    default:
      return "refused";
  }
}
cudaError_t cudaGetLastError() { return unless_dead(); }
cudaError_t cudaDriverGetVersion(int* version) {
  return *version = wanted("CUDA_ON_HOST_DRIVER", kRuntime), cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) { return *version = kRuntime, cudaSuccess; }
cudaError_t cudaGetDeviceCount(int* count) {
  if (wanted("CUDA_ON_HOST_DRIVER", kRuntime) < kRuntime) return cudaErrorInsufficientDriver;
  const char* visible = std::getenv("CUDA_VISIBLE_DEVICES");
  if (visible && (visible[0] < '0' || visible[0] > '9')) return cudaErrorNoDevice;
  return *count = wanted("CUDA_ON_HOST_CARDS", 1), cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
  const int capability = wanted("CUDA_ON_HOST_CAPABILITY", 80);
  *properties = {.name = "CPU", .major = capability / 10, .minor = capability % 10};
  return cudaSuccess;
}
cudaError_t cudaGetDevice(int* device) { return *device = 0, cudaSuccess; }
cudaError_t cudaSetDevice(int) { return cudaSuccess; }
cudaError_t cudaDeviceGetPCIBusId(char* name, int size, int device) {
  std::snprintf(name, static_cast<size_t>(size), "0000:0%d:00.0", device);
  return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  *value = attribute == cudaDevAttrComputeCapabilityMinor ? 0 : 8;
  return cudaSuccess;
}

namespace {

cudaError_t allocate(std::map<uintptr_t, size_t>& blocks, void** pointer, size_t bytes) {
  const std::lock_guard lock(calls);
  constexpr size_t kMemory = size_t{64} << 30;
  if (bytes > kMemory || posix_memalign(pointer, 256, bytes) != 0) return cudaErrorMemoryAllocation;
  std::memset(*pointer, 0xff, bytes);
  blocks[reinterpret_cast<uintptr_t>(*pointer)] = bytes;
  return cudaSuccess;
}
cudaError_t give_back(std::map<uintptr_t, size_t>& blocks, void* pointer) {
  if (pointer && blocks.erase(reinterpret_cast<uintptr_t>(pointer)) == 0) return cudaErrorInvalidValue;
  return std::free(pointer), cudaSuccess;
}

}  // namespace

cudaError_t cudaMalloc(void** pointer, size_t bytes) { return allocate(on_device, pointer, bytes); }
cudaError_t cudaMallocHost(void** pointer, size_t bytes) { return allocate(pinned, pointer, bytes); }
cudaError_t cudaHostAlloc(void** pointer, size_t bytes, unsigned) { return allocate(pinned, pointer, bytes); }
/// Waits for the device, as CUDA's does.
cudaError_t cudaFree(void* pointer) {
  const std::lock_guard lock(calls);
  for (CUstream_st* stream : streams) finish(*stream);
  return give_back(on_device, pointer);
}
/// Does not wait: nobody promises that it does.
cudaError_t cudaFreeHost(void* pointer) {
  const std::lock_guard lock(calls);
  return give_back(pinned, pointer);
}
/// Of pageable memory the call takes the bytes; of pinned memory the copy itself does, whenever that is.
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  const std::lock_guard lock(calls);
  if (kind != cudaMemcpyHostToDevice || holds(pinned, reinterpret_cast<uintptr_t>(from), bytes))
    return cuda_on_host::submit(stream, [=] { std::memcpy(to, from, bytes); });
  const char* first = static_cast<const char*>(from);
  return cuda_on_host::submit(
      stream, [to, taken = std::vector<char>(first, first + bytes)] { std::memcpy(to, taken.data(), taken.size()); });
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  const std::lock_guard lock(calls);
  return streams.push_back(*stream = new CUstream_st), cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  const std::lock_guard lock(calls);
  if (stream->captured) return cudaErrorStreamCaptureUnsupported;
  return finish(*stream), unless_dead();
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  const std::lock_guard lock(calls);
  if (stream->captured) return cudaErrorStreamCaptureUnsupported;  // on work outside the graph
  if (!event->stream || event->stream == stream) return cudaSuccess;
  return cuda_on_host::submit(stream, [&other = *event->stream, number = event->number] { reach(other, number); });
}
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  const std::lock_guard lock(calls);
  return stream->captured = std::make_unique<CUgraph_st>(), cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  const std::lock_guard lock(calls);
  return *graph = stream->captured.release(), cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t* event) { return *event = new CUevent_st, cudaSuccess; }
cudaError_t cudaEventDestroy(cudaEvent_t event) { return delete event, cudaSuccess; }
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  const std::lock_guard lock(calls);
  if (stream->captured) return cudaErrorStreamCaptureUnsupported;  // nobody here records events in a graph
  event->stream = stream;
  event->number = asked(*stream) + 1;
  event->reached = std::make_shared<std::chrono::steady_clock::time_point>();
  return cuda_on_host::submit(stream, [at = event->reached] { *at = std::chrono::steady_clock::now(); });
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  const std::lock_guard lock(calls);
  if (event->stream) reach(*event->stream, event->number);
  return unless_dead();
}
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
  const std::lock_guard lock(calls);
  if (!start->stream || !end->stream) return cudaErrorInvalidValue;
  *milliseconds = std::chrono::duration<float, std::milli>(*end->reached - *start->reached).count();
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t* work, cudaGraph_t graph, unsigned long long) {
  return *work = new CUgraph_st(*graph), cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t work, cudaStream_t stream) {
  const std::lock_guard lock(calls);
  for (const auto& f : work->work)
    if (const cudaError_t status = cuda_on_host::submit(stream, f); status != cudaSuccess) return status;
  return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) { return delete graph, cudaSuccess; }
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t work) { return delete work, cudaSuccess; }
