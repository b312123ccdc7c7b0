#pragma once
// CUDA's language and runtime, as far as cuda/ uses them, on the CPU: with this header found first, cuda/*.cu is plain
// C++ and its kernels run on any machine, for tests. Threads of a block are fibers that take turns, so that barriers,
// shuffles and shared memory mean what they mean on a card; blocks are spread over the CPU's threads. Launches wait
// until somebody waits for them (runtime.cpp). Device memory is host memory, filled with NaN before its first use.
//
// It is stricter than a card in one thing: a shuffle or ballot that a named lane never reaches, because it returned or
// waits elsewhere, ends the program with a message. Races are found by watch.cpp. What it cannot show is speed.

#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <tuple>
#include <type_traits>
#include <utility>

// ---- the language --------------------------------------------------------------------------------

#define __global__
#define __device__
#define __grid_constant__
#define __launch_bounds__(...)
/// One CPU thread runs one block at a time.
#define __shared__ static thread_local

namespace cuda_on_host {

/// Of the fiber that runs on this CPU thread.
struct Position {
  unsigned thread, block, threads;
  unsigned phase;     // barriers passed
  const char* stack;  // its own, of kStack bytes
  bool in_kernel;     // its arguments are there
};
constexpr size_t kStack = size_t{128} << 10;
unsigned own(unsigned Position::*member);

/// What kernels read as threadIdx.x and the like.
template <unsigned Position::*Member>
struct Builtin {
  struct {
    operator unsigned() const { return own(Member); }
  } x;
};

/// Waits for every thread of the block that has not returned.
void barrier();

constexpr unsigned kLanes = 32;
/// Waits for the 32 lanes of the warp and returns what that one gave.
uint64_t exchange(unsigned mask, uint64_t value, unsigned lane);
/// Likewise; the lanes that gave true.
unsigned vote(unsigned mask, bool value);

/// Runs `thread` on every thread of every block.
void run_grid(unsigned blocks, unsigned threads, const std::function<void()>& thread);
/// The kernel begins, or has returned.
void set_in_kernel(bool on);

/// Of a build whose kernels report their accesses (watch.cpp): the position of the thread that makes one, null outside
/// of kernels.
const Position* in_kernel();
/// Does this build's code report them? Blocks then run one after the other.
bool watched();
/// What follows is after all that was accessed so far.
void watch_launch();
/// Memory from cudaMalloc and pinned memory.
bool is_device_memory(uintptr_t at, size_t bytes);

template <class T>
uint64_t bits_of(T value) {
  static_assert(sizeof(T) <= sizeof(uint64_t) && std::is_trivially_copyable_v<T>);
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  return bits;
}
template <class T>
T value_of(uint64_t bits) {
  T value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

}  // namespace cuda_on_host

inline constexpr cuda_on_host::Builtin<&cuda_on_host::Position::thread> threadIdx{};
inline constexpr cuda_on_host::Builtin<&cuda_on_host::Position::block> blockIdx{};
inline constexpr cuda_on_host::Builtin<&cuda_on_host::Position::threads> blockDim{};

inline void __syncthreads() { cuda_on_host::barrier(); }

template <class T>
T __shfl_sync(unsigned mask, T value, int lane) {
  using namespace cuda_on_host;
  return value_of<T>(exchange(mask, bits_of(value), static_cast<unsigned>(lane) % kLanes));
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lanes) {
  const unsigned self = threadIdx.x % cuda_on_host::kLanes;
  return __shfl_sync(mask, value, static_cast<int>(self ^ static_cast<unsigned>(lanes)));
}
inline unsigned __ballot_sync(unsigned mask, bool vote) { return cuda_on_host::vote(mask, vote); }
inline unsigned atomicCAS(unsigned* at, unsigned expected, unsigned value) {
  return __sync_val_compare_and_swap(at, expected, value);
}
inline int __ffs(unsigned bits) { return __builtin_ffs(static_cast<int>(bits)); }

using std::isfinite;

/// 8 and 16 bytes that move as one.
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
template <class V>
void __stcg(V* to, V value) {
  *to = value;
}

template <class A, class B>
constexpr std::common_type_t<A, B> min(A a, B b) {
  return b < a ? b : a;
}
template <class A, class B>
constexpr std::common_type_t<A, B> max(A a, B b) {
  return a < b ? b : a;
}

// ---- the runtime ---------------------------------------------------------------------------------

enum cudaError_t {
  cudaSuccess,
  cudaErrorMemoryAllocation,
  cudaErrorInvalidValue,
  cudaErrorInsufficientDriver,
  cudaErrorNoDevice,
  cudaErrorIllegalAddress,
  cudaErrorStreamCaptureUnsupported
};
enum cudaMemcpyKind { cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice };
enum cudaDeviceAttr {
  cudaDevAttrMultiProcessorCount,
  cudaDevAttrComputeCapabilityMajor,
  cudaDevAttrComputeCapabilityMinor
};
enum cudaStreamCaptureMode { cudaStreamCaptureModeRelaxed };
constexpr unsigned cudaStreamNonBlocking = 1, cudaHostAllocMapped = 2, cudaHostAllocPortable = 1;

/// A stream does what it is asked when somebody waits for it, or notes it while it is captured (runtime.cpp).
struct CUstream_st;
struct CUevent_st;
struct CUgraph_st;
using cudaStream_t = CUstream_st*;
using cudaEvent_t = CUevent_st*;
using cudaGraph_t = CUgraph_st*;
using cudaGraphExec_t = CUgraph_st*;

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
struct cudaDeviceProp {
  char name[256];
  int major, minor;
};
struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  size_t dynamicSmemBytes = 0;
  cudaStream_t stream = nullptr;
};

const char* cudaGetErrorString(cudaError_t error);
cudaError_t cudaGetLastError();
cudaError_t cudaDriverGetVersion(int* version);
cudaError_t cudaRuntimeGetVersion(int* version);
cudaError_t cudaGetDeviceCount(int* count);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device);
cudaError_t cudaGetDevice(int* device);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaDeviceGetPCIBusId(char* name, int size, int device);
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device);

inline cudaError_t cudaProfilerStart() { return cudaSuccess; }  // nobody looks
inline cudaError_t cudaProfilerStop() { return cudaSuccess; }

cudaError_t cudaMalloc(void** pointer, size_t bytes);
cudaError_t cudaMallocHost(void** pointer, size_t bytes);
cudaError_t cudaHostAlloc(void** pointer, size_t bytes, unsigned flags);
cudaError_t cudaFree(void* pointer);
cudaError_t cudaFreeHost(void* pointer);
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream);

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags);
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode);
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph);

cudaError_t cudaEventCreate(cudaEvent_t* event);
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream);
cudaError_t cudaEventSynchronize(cudaEvent_t event);
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end);

cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t* work, cudaGraph_t graph, unsigned long long flags);
cudaError_t cudaGraphLaunch(cudaGraphExec_t work, cudaStream_t stream);
cudaError_t cudaGraphDestroy(cudaGraph_t graph);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t work);

namespace cuda_on_host {
/// Asks the stream for `work`, or notes it in the graph being captured.
cudaError_t submit(cudaStream_t stream, std::function<void()> work);
}  // namespace cuda_on_host

template <class... Parameters, class... Args>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...), Args&&... args) {
  if (config->blockDim.x == 0 || config->blockDim.x > 1024) return cudaErrorInvalidValue;
  std::tuple<std::remove_const_t<Parameters>...> values(std::forward<Args>(args)...);
  return cuda_on_host::submit(
      config->stream, [kernel, blocks = config->gridDim.x, threads = config->blockDim.x, values = std::move(values)] {
        cuda_on_host::run_grid(blocks, threads, [&] {
          const auto own = std::pair(kernel, values);
          cuda_on_host::set_in_kernel(true);
          std::apply(own.first, own.second);
          cuda_on_host::set_in_kernel(false);
        });
      });
}
