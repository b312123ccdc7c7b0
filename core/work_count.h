#pragma once
// What a piece of a program asks of its device: calls of kernels, bytes of their operands, arithmetic, launches; and of
// other ranks. These are the same wherever the code runs, so that a change can be judged where there is no card, and a
// cluster by one process. With a clock also how long each call took, and what passed between calls.

#include <cstdint>
#include <functional>
#include <map>
#include <string>

#include "core/tensor.h"

namespace sked {

/// While one lives on this thread, it counts. The youngest counts alone. Where none lives a call costs one look at a
/// variable of its thread.
class WorkCount {
 public:
  /// Copies from the host to a GPU count as calls of `copy_from_host`, collectives of more than one rank under their
  /// names (core/communicator.h), with the bytes of the whole: of what is reduced or broadcast, of all that is gathered
  /// or scattered. What a call calls itself belongs to it, and is neither counted nor timed again. `bytes`: of every
  /// tensor of a call once, read or written; what a kernel reads again, or reads and overwrites in place, is not
  /// counted twice. `launches`: kernels of ours, products, convolutions and copies within the device; none on the CPU.
  /// `operations`: multiplications and additions of products, convolutions, attention. `nanoseconds`: with a clock.
  struct Entry {
    int64_t calls = 0, bytes = 0, launches = 0, operations = 0, nanoseconds = 0;

    double seconds() const { return static_cast<double>(nanoseconds) * 1e-9; }
    Entry& operator+=(const Entry& other);
  };
  /// Nanoseconds since some moment.
  using Clock = int64_t (*)();
  /// Is told of every call at its end, by its entry and the clock's time of its beginning.
  using Listener = std::function<void(const char* kernel, const Entry& call, int64_t begin)>;

  /// Counts without a look at any clock.
  WorkCount() : WorkCount(nullptr) {}
  /// Times each call too: two looks at the clock. On a GPU, where a call only asks for work, it waits for the device at
  /// the end of each call (not within record_work()), so that the time is that of the work; a step takes longer then
  /// than one whose calls are queued.
  explicit WorkCount(Clock clock, Listener listener = {});
  ~WorkCount();
  WorkCount(const WorkCount&) = delete;
  WorkCount& operator=(const WorkCount&) = delete;

  /// By kernel, or by the name under which something else was launched.
  const std::map<std::string, Entry>& entries() const { return entries_; }
  Entry total() const;
  /// Nanoseconds that passed outside calls since this was made: with those of total() all there were. 0 without a
  /// clock.
  int64_t between() const { return clock_ ? between_ + clock_() - last_ : 0; }

  /// A call, from when this is made until its end. `work()` is its Entry, asked for where somebody counts.
  class Call {
   public:
    template <class Work>
    Call(const char* kernel, Device device, const Work& work) {
      if (WorkCount* const count = active(); count && !count->call_.kernel) {
        count_ = count;
        count->begin({kernel, device, work(), 0});
      }
    }
    ~Call() {
      if (count_) count_->end();
    }
    Call(const Call&) = delete;
    Call& operator=(const Call&) = delete;

   private:
    WorkCount* count_ = nullptr;
  };
  static void launch(const char* where);
  static WorkCount*& active() { return active_; }

 private:
  struct Current {
    const char* kernel = nullptr;  // no call
    Device device = Device::cpu;
    Entry entry = {};
    int64_t begin = 0;
  };
  void begin(const Current& call);
  void end();

  static inline constinit thread_local WorkCount* active_ = nullptr;

  WorkCount* const before_;
  const Clock clock_;
  const Listener listener_;
  std::map<std::string, Entry> entries_;
  Current call_;
  int64_t last_ = 0, between_ = 0;  // the end of the last call; what passed outside calls up to the last
};

namespace detail {
inline int64_t operand_bytes(const Tensor& t) { return t.defined() ? static_cast<int64_t>(t.bytes()) : 0; }
inline int64_t operand_bytes(const TensorList& list) {
  int64_t bytes = 0;
  for (const Tensor& t : list) bytes += operand_bytes(t);
  return bytes;
}
template <class Other>
int64_t operand_bytes(const Other&) {
  return 0;
}
}  // namespace detail

}  // namespace sked
