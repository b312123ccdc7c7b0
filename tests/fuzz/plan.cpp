#include "apps/replicate/plan.h"

#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t count) {
  using namespace sked;
  return fuzz::with_file(bytes, count, [](const std::string& path) {
    const Plan plan = read_plan(path, {});
    if (plan.heads.size() * plan.settings.size() * plan.seeds.size() < 100) runs_of(plan);
  });
}
