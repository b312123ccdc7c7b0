// Every kernel of the program has a definition on the CPU and a case in tests/kernels that compares it with a
// reference.

#include <doctest/doctest.h>

#include <algorithm>
#include <set>
#include <string>
#include <string_view>

#include "core/kernel.h"
#include "tests/kernels/case.h"

using namespace sked;

namespace {

/// Without those that tests register themselves.
std::vector<const KernelBase*> program_kernels() {
  std::vector<const KernelBase*> list = all_kernels();
  std::erase_if(list, [](const KernelBase* k) { return std::string_view(k->name()).starts_with("test_"); });
  return list;
}

}  // namespace

TEST_CASE("coverage: every kernel runs on the CPU and is tested") {
  std::set<std::string> covered;
  for (const test::Family& family : test::families())
    for (const test::KernelCase& c : family.cases())
      if (c.refusal.empty() && c.reference) covered.insert(c.kernel);
  std::set<std::string_view> seen;
  for (const KernelBase* kernel : program_kernels()) {
    const std::string name = kernel->name();
    CHECK_MESSAGE(kernel->implemented(Device::cpu), name << " has no CPU implementation");
    CHECK_MESSAGE(covered.count(name) == 1, name << " has no case with a reference in tests/kernels");
    CHECK_MESSAGE(seen.insert(kernel->name()).second, name << " is the name of two kernels");
  }
  for (const std::string& name : covered)
    CHECK_MESSAGE(seen.count(name) == 1, name << " has cases, but there is no such kernel");
}

TEST_CASE("coverage: the registry lists kernels in order of name") {
  const auto list = program_kernels();
  CHECK(!list.empty());
  const bool sorted = std::is_sorted(list.begin(), list.end(), [](const KernelBase* a, const KernelBase* b) {
    return std::string_view(a->name()) < std::string_view(b->name());
  });
  CHECK(sorted);
}
