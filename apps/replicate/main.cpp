// replicate: a grid of heads × settings × seeds, then the tables and the report.

#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>

#include "apps/common/cli.h"
#include "apps/common/trainer.h"
#include "apps/replicate/plan.h"
#include "apps/replicate/report.h"
#include "apps/replicate/results.h"
#include "core/error.h"
#include "core/file.h"

namespace sked {
namespace {

void write_results(const Plan& plan, const std::vector<FinishedRun>& finished, const std::filesystem::path& out) {
  const std::vector<Cell> cells = cells_of(plan, finished);
  write_file((out / "results.json").string(), results_json(plan, cells));
  write_file((out / "table.md").string(), table_markdown(plan, cells));
}

void replicate(const CommonOptions& options) {
  if (options.config.empty()) throw UsageError("[replicate] --config PLAN.json is missing");
  Plan plan = read_plan(options.config, options.set);
  if (!options.data_root.empty()) plan.base.data.root = options.data_root;
  if (options.seed) plan.seeds = {*options.seed};
  const std::filesystem::path out =
      options.out.empty() ? "runs/" + std::filesystem::path(options.config).stem().string() : options.out;
  const std::vector<PlannedRun> runs = runs_of(plan);
  std::printf("%s: %zu runs (%zu settings x %zu heads x %zu seeds) into %s\n", plan.title.c_str(), runs.size(),
              plan.settings.size(), plan.heads.size(), plan.seeds.size(), out.c_str());
  std::vector<FinishedRun> finished;
  for (const PlannedRun& run : runs) {
    const std::string label = "[" + std::to_string(finished.size() + 1) + "/" + std::to_string(runs.size()) + "] " +
                              plan.settings[run.setting].name + " · " + plan.heads[run.head].name + " · seed " +
                              std::to_string(run.seed);
    const Summary summary =
        train(run.config, out / run.folder, {.device = options.device, .label = label, .command = options.command});
    std::printf("%s: nll %.4f  accuracy %.2f %%  %.0f s\n", label.c_str(), summary.test.measures.nll,
                100 * summary.test.measures.accuracy, summary.train_seconds);
    std::fflush(stdout);
    finished.push_back({run, summary});
    write_results(plan, finished, out);  // after each run: a plan that is stopped has its results so far
  }
  const std::vector<Cell> cells = cells_of(plan, finished);
  std::printf("\n%s\n", table_markdown(plan, cells).c_str());
  for (const Comparison& c : comparisons(plan, cells)) std::printf("%s\n", sentence(plan, cells, c).c_str());
  write_file((out / "report.html").string(), report_html(plan, cells, out));
  std::printf("\nresults in %s: results.json, table.md, report.html\n", out.c_str());
}

}  // namespace
}  // namespace sked

int main(int argc, char** argv) {
  const sked::AppText text = {
      .name = "replicate",
      .about =
          "Runs a plan (heads x settings x seeds), then writes results.json, table.md and report.html. A plan that was "
          "stopped "
          "goes on where it was when the same command is given again; --set changes the plan's base.",
      .example = "build/replicate --config apps/configs/demo.json --out runs/demo"};
  return sked::run_app(argc, argv, text, {}, sked::replicate);
}
