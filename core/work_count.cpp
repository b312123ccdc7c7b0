#include "core/work_count.h"

namespace sked {

WorkCount::WorkCount() : before_(active()) { active() = this; }
WorkCount::~WorkCount() { active() = before_; }

WorkCount*& WorkCount::active() {
  thread_local WorkCount* active = nullptr;
  return active;
}

void WorkCount::add(const char* name, const Entry& entry) {
  Entry& sum = entries_[name];
  sum.calls += entry.calls;
  sum.bytes += entry.bytes;
  sum.launches += entry.launches;
}

WorkCount::Entry WorkCount::total() const {
  Entry total;
  for (const auto& [name, entry] : entries_) {
    total.calls += entry.calls;
    total.bytes += entry.bytes;
    total.launches += entry.launches;
  }
  return total;
}

}  // namespace sked
