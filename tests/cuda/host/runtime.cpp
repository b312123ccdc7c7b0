// Fibers for the threads of a block, and the calls of the CUDA runtime.

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

#include <ucontext.h>

#include "cuda_runtime.h"

namespace cuda_on_host {
namespace {

constexpr size_t kStack = size_t{64} << 10;

[[noreturn]] void give_up(const char* what) {
  std::fprintf(stderr, "cuda on host: block %u, thread %u: %s\n", position().block, position().thread, what);
  std::abort();
}

enum class State { idle, running, at_barrier, in_exchange };

/// Where to go on. The compiler's own jumps, a few instructions each, neither ask anything of the operating system nor
/// make a sanitizer look through the stack, which takes a thousand times as long.
using Jump = void* [5];

/// A stack on which one thread of a block after the other runs. Entered once by its context; afterwards control goes
/// back and forth by jumps.
struct Fiber {
  explicit Fiber(void (*body)()) : stack(new char[kStack]) {
    getcontext(&context);
    context.uc_stack.ss_sp = stack.get();
    context.uc_stack.ss_size = kStack;
    context.uc_link = nullptr;
    makecontext(&context, body, 0);
  }
  std::unique_ptr<char[]> stack;
  ucontext_t context{};
  Jump here{};
  bool entered = false;
  State state = State::idle;
  Position at{};
  uint64_t exchanges = 0;  // taken part in
};

/// What a warp's lanes gave, for two exchanges in turn: no lane can be further ahead of another.
struct Warp {
  uint64_t values[2][kLanes];
};

/// The block that a CPU thread is at, and its fibers, kept from block to block.
class Block {
 public:
  static Block& own() {
    static thread_local Block block;
    return block;
  }

  void run(unsigned block, unsigned threads, const std::function<void()>& thread) {
    thread_ = &thread;
    waiting_.resize(threads);  // all null: the block before has returned
    warps_.resize((threads + kLanes - 1) / kLanes);
    for (unsigned t = 0; t < threads; ++t) {
      if (idle_.empty()) idle_.push_back(std::make_unique<Fiber>(body));
      std::unique_ptr<Fiber> fiber = std::move(idle_.back());
      idle_.pop_back();
      fiber->at = {t, block, threads};
      fiber->exchanges = 0;
      waiting_[t] = std::move(fiber);
      resume(t);
    }
    while (step()) {
    }
  }

  __attribute__((noinline, no_sanitize("address"))) void wait(State state) {
    running_->state = state;
    if (__builtin_setjmp(running_->here) == 0) jump(scheduler_);
  }

  const uint64_t* exchange(unsigned mask, uint64_t value) {
    if (mask != 0xffffffffu) give_up("expected all lanes in the mask");
    Fiber& self = *running_;
    uint64_t* values = warps_[self.at.thread / kLanes].values[self.exchanges % 2];
    values[self.at.thread % kLanes] = value;
    ++self.exchanges;
    wait(State::in_exchange);
    return values;
  }

  const Position& at() const { return running_->at; }

 private:
  /// What a fiber does for ever.
  static void body() {
    for (;;) {
      (*own().thread_)();
      own().wait(State::idle);
    }
  }

  __attribute__((noinline, no_sanitize("address"))) static void jump(Jump& to) { __builtin_longjmp(to, 1); }

  __attribute__((noinline, no_sanitize("address"))) void enter(Fiber& fiber) {
    running_ = &fiber;
    fiber.state = State::running;
    if (__builtin_setjmp(scheduler_) != 0) return;
    if (fiber.entered) jump(fiber.here);
    fiber.entered = true;
    setcontext(&fiber.context);
    give_up("a fiber cannot be entered");  // so no tail call: this frame is what the scheduler comes back to
  }

  /// Lets thread t go on until it waits or returns.
  void resume(unsigned t) {
    enter(*waiting_[t]);
    if (waiting_[t]->state == State::idle) idle_.push_back(std::move(waiting_[t]));
  }

  /// Lets those go on that may; false when all have returned.
  bool step() {
    bool moved = false, left = false;
    for (unsigned w = 0; w < warps_.size(); ++w) {
      if (!exchanged(w)) continue;
      moved = true;
      for (unsigned t = w * kLanes; t < (w + 1) * kLanes; ++t) resume(t);
    }
    if (moved) return true;
    for (const auto& fiber : waiting_) {
      if (!fiber) continue;
      left = true;
      running_ = fiber.get();
      if (fiber->state == State::in_exchange) give_up("a shuffle or ballot that not all lanes of the warp reach");
    }
    for (unsigned t = 0; t < waiting_.size(); ++t)
      if (waiting_[t]) resume(t);  // all that are left wait at a barrier
    return left;
  }

  /// Do all 32 lanes of the warp wait in the same exchange?
  bool exchanged(unsigned w) const {
    if (waiting_.size() < (w + 1) * kLanes) return false;
    for (unsigned t = w * kLanes; t < (w + 1) * kLanes; ++t) {
      const Fiber *fiber = waiting_[t].get(), *first = waiting_[w * kLanes].get();
      if (!fiber || fiber->state != State::in_exchange || fiber->exchanges != first->exchanges) return false;
    }
    return true;
  }

  const std::function<void()>* thread_ = nullptr;
  std::vector<std::unique_ptr<Fiber>> waiting_;  // thread t's, null when it has returned
  std::vector<std::unique_ptr<Fiber>> idle_;
  std::vector<Warp> warps_;
  Jump scheduler_{};
  Fiber* running_ = nullptr;
};

}  // namespace

const Position& position() { return Block::own().at(); }
void barrier() { Block::own().wait(State::at_barrier); }
const uint64_t* exchange(unsigned mask, uint64_t value) { return Block::own().exchange(mask, value); }

void run_grid(unsigned blocks, unsigned threads, const std::function<void()>& thread) {
#pragma omp parallel for schedule(dynamic, 8)
  for (unsigned b = 0; b < blocks; ++b) Block::own().run(b, threads, thread);
}

}  // namespace cuda_on_host

// ---- the runtime ---------------------------------------------------------------------------------

struct CUgraph_st {
  std::vector<std::function<void()>> work;
};
struct CUstream_st {
  std::unique_ptr<CUgraph_st> captured;
};
struct CUevent_st {
  std::chrono::steady_clock::time_point at;
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

}  // namespace

cudaError_t cuda_on_host::submit(cudaStream_t stream, std::function<void()> work) {
  if (dead()) return cudaErrorIllegalAddress;
  if (stream->captured) {
    stream->captured->work.push_back(std::move(work));
  } else {
    work();
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

cudaError_t cudaMalloc(void** pointer, size_t bytes) {
  constexpr size_t kMemory = size_t{64} << 30;
  if (bytes > kMemory || posix_memalign(pointer, 256, bytes) != 0) return cudaErrorMemoryAllocation;
  std::memset(*pointer, 0xff, bytes);
  return cudaSuccess;
}
cudaError_t cudaMallocHost(void** pointer, size_t bytes) { return cudaMalloc(pointer, bytes); }
cudaError_t cudaHostAlloc(void** pointer, size_t bytes, unsigned) { return cudaMalloc(pointer, bytes); }
cudaError_t cudaFree(void* pointer) { return std::free(pointer), cudaSuccess; }
cudaError_t cudaFreeHost(void* pointer) { return cudaFree(pointer); }
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind, cudaStream_t stream) {
  return cuda_on_host::submit(stream, [=] { std::memcpy(to, from, bytes); });
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) { return *stream = new CUstream_st, cudaSuccess; }
cudaError_t cudaStreamSynchronize(cudaStream_t) { return unless_dead(); }
cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned) { return cudaSuccess; }
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  return stream->captured = std::make_unique<CUgraph_st>(), cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  return *graph = stream->captured.release(), cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t* event) { return *event = new CUevent_st, cudaSuccess; }
cudaError_t cudaEventDestroy(cudaEvent_t event) { return delete event, cudaSuccess; }
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t) {
  return event->at = std::chrono::steady_clock::now(), cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t) { return unless_dead(); }
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
  *milliseconds = std::chrono::duration<float, std::milli>(end->at - start->at).count();
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t* work, cudaGraph_t graph, unsigned long long) {
  return *work = new CUgraph_st(*graph), cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t work, cudaStream_t) {
  for (const auto& f : work->work) f();
  return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) { return delete graph, cudaSuccess; }
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t work) { return delete work, cudaSuccess; }
