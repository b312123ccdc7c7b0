// summary.json of a run, and what results.json makes of it.
#include "apps/common/summary.h"

#include "apps/replicate/results.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t count) {
  using namespace sked;
  return fuzz::with_file(bytes, count, [](const std::string& path) {
    Plan plan;
    plan.settings = {{"s"}};
    plan.heads = {{"h"}};
    const std::vector<Cell> cells = cells_of(plan, {{{0, 0, 0, {}, "f"}, read_summary(path)}});
    results_json(plan, cells);
    table_markdown(plan, cells);
  });
}
