#include "core/kernel.h"

#include <algorithm>
#include <string_view>

namespace sked {
namespace {

/// Function-local, so that it exists before the first kernel object of any translation unit.
std::vector<const KernelBase*>& registry() {
  static std::vector<const KernelBase*> list;
  return list;
}

}  // namespace

void KernelBase::enlist() const { registry().push_back(this); }

std::vector<const KernelBase*> all_kernels() {
  std::vector<const KernelBase*> list = registry();
  std::sort(list.begin(), list.end(),
            [](auto* a, auto* b) { return std::string_view(a->name()) < std::string_view(b->name()); });
  return list;
}

bool& ReferenceOnly::active() {
  thread_local bool active = false;
  return active;
}

bool& DryRun::active() {
  thread_local bool active = false;
  return active;
}

}  // namespace sked
