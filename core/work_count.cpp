#include "core/work_count.h"

#include <utility>

#include "core/device.h"
#include "core/error.h"
#include "core/recording.h"

namespace sked {
namespace {

/// Returns when the device has done what it was asked. What went wrong there is told to the next who asks.
void wait_for(Device device) noexcept {
  if (device == Device::cpu || recording_now()) return;
  try {
    memory(device).synchronize();
  } catch (const Error&) {  // it stays, and this is a destructor's
  }
}

}  // namespace

WorkCount::WorkCount(Clock clock, Listener listener)
    : before_(active()), clock_(clock), listener_(std::move(listener)), last_(clock ? clock() : 0) {
  active() = this;
}
WorkCount::~WorkCount() { active() = before_; }

WorkCount::Entry& WorkCount::Entry::operator+=(const Entry& other) {
  calls += other.calls;
  bytes += other.bytes;
  launches += other.launches;
  operations += other.operations;
  nanoseconds += other.nanoseconds;
  return *this;
}

WorkCount::Entry WorkCount::total() const {
  Entry total;
  for (const auto& [name, entry] : entries_) total += entry;
  return total;
}

void WorkCount::launch(const char* where) {
  if (WorkCount* const count = active()) count->entries_[where].launches += 1;
}

void WorkCount::begin(const Current& call) {
  call_ = call;
  if (!clock_) return;
  call_.begin = clock_();
  between_ += call_.begin - last_;
}

void WorkCount::end() {
  if (clock_) {
    wait_for(call_.device);
    last_ = clock_();
    call_.entry.nanoseconds = last_ - call_.begin;
  }
  const Current call = std::exchange(call_, {});
  entries_[call.kernel] += call.entry;
  if (listener_) listener_(call.kernel, call.entry, call.begin);
}

}  // namespace sked
