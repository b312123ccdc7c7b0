// replicate: a grid of heads × settings × seeds, then the tables and the report.

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <optional>

#include "apps/common/cli.h"
#include "apps/common/plots.h"
#include "apps/common/task.h"
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

/// Builds the model of every head and setting once: a wrong name is refused now and not after hours of other runs.
void check_models(const std::vector<PlannedRun>& runs) {
  std::optional<Splits> splits;
  const PlannedRun* loaded = nullptr;
  for (const PlannedRun& run : runs) {
    if (run.seed != runs.front().seed) continue;
    const RunConfig& config = run.config;
    const auto of_data = [](const std::string& key) { return key.starts_with("data."); };
    if (!loaded || std::ranges::any_of(differing_keys(config, loaded->config), of_data)) splits = load_data(config);
    loaded = &run;
    make_task(config, *splits, Device::cpu);
  }
}

void replicate(const CommonOptions& options, bool fresh) {
  if (options.config.empty()) throw UsageError("[replicate] --config PLAN.json is missing");
  Plan plan = read_plan(options.config, options.set);
  if (!options.data_root.empty()) plan.base.data.root = options.data_root;
  if (options.seed) plan.seeds = {*options.seed};
  const std::filesystem::path out =
      options.out.empty() ? "runs/" + std::filesystem::path(options.config).stem().string() : options.out;
  const std::vector<PlannedRun> runs = runs_of(plan);
  check_models(runs);
  std::printf("%s: %zu runs (%zu settings x %zu heads x %zu seeds) into %s\n", plan.title.c_str(), runs.size(),
              plan.settings.size(), plan.heads.size(), plan.seeds.size(), out.c_str());
  std::vector<FinishedRun> finished;
  for (const PlannedRun& run : runs) {
    const std::string label = "[" + std::to_string(finished.size() + 1) + "/" + std::to_string(runs.size()) + "] " +
                              plan.settings[run.setting].name + " · " + plan.heads[run.head].name + " · seed " +
                              std::to_string(run.seed);
    const Summary summary = train(
        run.config, out / run.folder,
        {.device = options.device, .graph = options.graph, .fresh = fresh, .label = label, .command = options.command});
    std::printf("%s: nll %.4f  accuracy %.2f %%  %.0f s\n", label.c_str(), summary.test.measures.nll,
                100 * summary.test.measures.accuracy, summary.train_seconds);
    std::fflush(stdout);
    finished.push_back({run, summary});
    write_results(plan, finished, out);  // after each run: a plan that is stopped has its results so far
  }
  const std::vector<Cell> cells = cells_of(plan, finished);
  std::printf("\n%s\n", table_markdown(plan, cells).c_str());
  for (const Comparison& c : comparisons(plan, cells)) std::printf("%s\n", sentence(plan, cells, c).c_str());
  if (!can_plot()) std::fprintf(stderr, "note: gnuplot was not found: report.html has no plots\n");
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
          "stopped goes on where it was when the same command is given again; --set changes the plan's base.",
      .example = "build/replicate --config apps/configs/demo.json --out runs/demo"};
  bool fresh = false;
  return sked::run_app(
      argc, argv, text,
      [&](CLI::App& app) { app.add_flag("--fresh", fresh, "Start every run over instead of keeping what is there"); },
      [&](const sked::CommonOptions& options) { sked::replicate(options, fresh); });
}
