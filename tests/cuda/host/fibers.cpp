// Fibers for the threads of a block.

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

#include <ucontext.h>

#include "cuda_runtime.h"

namespace cuda_on_host {
namespace {

[[noreturn]] void give_up(const char* what) {
  std::fprintf(stderr, "cuda on host: block %u, thread %u: %s\n", own(&Position::block), own(&Position::thread), what);
  std::abort();
}

/// Of the fiber that runs on this CPU thread; null between blocks.
constinit thread_local Position* here = nullptr;

enum class State { idle, running, at_barrier, in_exchange };

/// Where to go on. The compiler's own jumps, a few instructions each, neither ask anything of the operating system nor
/// make a sanitizer look through the stack, which takes a thousand times as long.
using Jump = void* [5];

/// Of a function that such a jump leaves or comes back to: its callers must not know which registers it leaves alone,
/// as a compiler that sees its body does.
#ifdef __clang__
#define SKED_JUMPS noinline, no_sanitize("address")
#else
#define SKED_JUMPS noipa, no_sanitize("address")
#endif

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
      fiber->at = {t, block, threads, 0, fiber->stack.get(), false};
      fiber->exchanges = 0;
      waiting_[t] = std::move(fiber);
      resume(t);
    }
    while (step()) {
    }
    here = nullptr;
  }

  __attribute__((SKED_JUMPS)) void wait(State state) {
    running_->state = state;
    if (__builtin_setjmp(running_->here) == 0) jump(scheduler_);
  }

  void pass_barrier() {
    wait(State::at_barrier);
    static const bool unseen = std::getenv("CUDA_ON_HOST_BARRIERS_UNSEEN") != nullptr;
    if (!unseen) ++running_->at.phase;
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

 private:
  /// What a fiber does for ever.
  static void body() {
    for (;;) {
      (*own().thread_)();
      own().wait(State::idle);
    }
  }

  __attribute__((SKED_JUMPS)) static void jump(Jump& to) { __builtin_longjmp(to, 1); }

  __attribute__((SKED_JUMPS)) void enter(Fiber& fiber) {
    running_ = &fiber;
    here = &fiber.at;
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
      here = &fiber->at;
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

unsigned own(unsigned Position::*member) { return here->*member; }
void set_in_kernel(bool on) { here->in_kernel = on; }
const Position* in_kernel() { return here && here->in_kernel ? here : nullptr; }
void barrier() { Block::own().pass_barrier(); }
uint64_t exchange(unsigned mask, uint64_t value, unsigned lane) { return Block::own().exchange(mask, value)[lane]; }
unsigned vote(unsigned mask, bool value) {
  const uint64_t* all = Block::own().exchange(mask, value);
  unsigned votes = 0;
  for (unsigned lane = 0; lane < kLanes; ++lane) votes |= static_cast<unsigned>(all[lane]) << lane;
  return votes;
}

void run_grid(unsigned blocks, unsigned threads, const std::function<void()>& thread) {
  if (watched()) watch_launch();
#pragma omp parallel for schedule(dynamic, 8) if (!watched())
  for (unsigned b = 0; b < blocks; ++b) Block::own().run(b, threads, thread);
}

}  // namespace cuda_on_host
