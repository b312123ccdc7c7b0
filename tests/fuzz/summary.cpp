// summary.json of a run, and what results.json makes of it.
#include "apps/common/measure/summary.h"

#include "apps/replicate/results.h"
#include "apps/replicate/tables.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t count) {
  using namespace sked;
  return fuzz::with_file(bytes, count, [](const std::string& path) {
    Plan plan;
    plan.settings = {{"s"}};
    plan.heads = {{"h"}};
    FinishedRun run;
    run.summary = read_summary(path);
    run.plan.folder = "f";
    const std::vector<Cell> cells = cells_of(plan, {run});
    results_json(plan, cells);
    table_markdown(plan, cells);
  });
}
