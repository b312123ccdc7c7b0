#include "core/work_count.h"

namespace sked {

WorkCount::WorkCount() : before_(active()) { active() = this; }
WorkCount::~WorkCount() { active() = before_; }

WorkCount*& WorkCount::active() {
  thread_local WorkCount* active = nullptr;
  return active;
}

WorkCount::Entry& WorkCount::Entry::operator+=(const Entry& other) {
  calls += other.calls;
  bytes += other.bytes;
  launches += other.launches;
  operations += other.operations;
  return *this;
}

void WorkCount::add(const char* name, const Entry& entry) { entries_[name] += entry; }

WorkCount::Entry WorkCount::total() const {
  Entry total;
  for (const auto& [name, entry] : entries_) total += entry;
  return total;
}

}  // namespace sked
