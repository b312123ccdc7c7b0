// replicate: a grid of heads × settings × seeds, then the tables and the report.

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <iterator>
#include <optional>
#include <set>
#include <tuple>

#include "apps/common/config/cli.h"
#include "apps/common/config/outputs.h"
#include "apps/common/config/progress.h"
#include "apps/common/measure/few_shot.h"
#include "apps/common/measure/plots.h"
#include "apps/common/run/make_task.h"
#include "apps/common/run/resume.h"
#include "apps/common/run/run_folder.h"
#include "apps/common/run/task.h"
#include "apps/common/run/timetable.h"
#include "apps/replicate/earlier.h"
#include "apps/replicate/own_plan.h"
#include "apps/replicate/plan.h"
#include "apps/replicate/ranks.h"
#include "apps/replicate/report.h"
#include "apps/replicate/results.h"
#include "apps/replicate/run_plan.h"
#include "apps/replicate/stages.h"
#include "apps/replicate/study_page.h"
#include "apps/replicate/tables.h"
#include "apps/replicate/tuning.h"
#include "core/error.h"
#include "core/file.h"
#include "core/mpi.h"
#include "core/text.h"

namespace sked {
namespace {

/// Those that have to be trained, wholly or in part.
std::vector<PlannedRun> unfinished(std::vector<PlannedRun> runs, const std::filesystem::path& out) {
  std::erase_if(runs, [&](const PlannedRun& run) { return stage_of(run, out) == Stage::finished; });
  return runs;
}

/// Throws UsageError where tuning or calibration has no images to look at.
void check_held_out(const Plan& plan, const PlannedRun& run, const Splits& splits) {
  const std::string where = plan.path + ": settings." + excerpt(plan.settings[run.setting].name) + ": ";
  require_usage(!run.of_tuning || splits.validation, "plan", where,
                "`tuning` chooses on held-out images: expected data.validation above 0, got 0");
  require_usage(!plan.calibrated || (splits.validation && !splits.without_test), "plan", where,
                "`calibrated` fits to images held out beside test images: expected data.validation above 0",
                splits.without_test ? ", and test images: there are none" : ", got 0");
}

/// Builds the model, the schedule and the few-shot data of every head and setting once: what is wrong is refused now
/// and not after hours of other runs.
void check_models(const Plan& plan, const std::vector<PlannedRun>& runs) {
  std::optional<Splits> splits;
  const PlannedRun* loaded = nullptr;
  std::set<std::tuple<size_t, size_t, std::string>> checked;
  for (const PlannedRun& run : runs) {
    if (run.undecided || !checked.emplace(run.setting, run.head, run.values).second) continue;
    const RunConfig& config = run.config;
    const auto of_data = [](const std::string& key) { return key.starts_with("data."); };
    if (!loaded || std::ranges::any_of(differing_keys(config, loaded->config), of_data)) splits = load_data(config);
    loaded = &run;
    check_held_out(plan, run, *splits);
    const std::unique_ptr<Task> task = make_task(config, *splits, Device::cpu);
    schedule(config.schedule, timetable(config.train, task->training_loader({}).batches()));
    few_shot_data(config, splits->test->image_shape());
  }
}

/// Makes the folder, and finds out whether everything can be written that these runs will write, and nothing of
/// somebody else is in the way.
void check_outputs(const std::vector<PlannedRun>& runs, const std::filesystem::path& out, bool fresh) {
  RunFolder{out}.create();
  check_results({(out / kResults).string(), (out / kTable).string(), (out / kReport).string()}, "cells");
  for (const PlannedRun& run : runs) {
    const RunFolder folder{out / run.folder};
    check_writable_below(folder.config());
    if (!run.undecided) find_planned(run, out, fresh);
  }
}

/// --fresh would take from other processes what they have done of a plan.
void refuse_fresh(const std::vector<PlannedRun>& runs, const std::filesystem::path& out) {
  for (const PlannedRun& run : runs) {
    const RunFolder folder{out / run.folder};
    require(!has_another_process(folder), "replicate", folder.path.string(),
            ": another process is writing to this run of the plan: expected none beside --fresh");
  }
}

/// Those of all runs, each under its folder.
std::string configurations(const std::vector<PlannedRun>& runs) {
  Json all = Json::object();
  for (const PlannedRun& run : runs)
    if (!run.undecided) all[run.folder] = parse_json(config_text(run.config), run.folder);
  return json_text(all);
}

/// All of them, without where this machine has its data.
std::vector<PlannedRun> anywhere(std::vector<PlannedRun> tuning, const std::vector<PlannedRun>& runs) {
  std::ranges::copy(runs, std::back_inserter(tuning));
  for (PlannedRun& run : tuning) run.config.data.root.clear();
  return tuning;
}

/// What --images and the options beside it ask for.
struct OwnPlan {
  OwnImages own;
  std::string heads = "det,het-xl";
  int64_t seeds = 3;
};

/// `Two heads: 6 tuning runs, then 4 runs (1 setting x 2 heads x 2 seeds) into runs/plan`
std::string first_line(const Plan& plan, size_t tuning, size_t runs, const std::filesystem::path& out) {
  return plan.title + ": " + (tuning > 0 ? counted(tuning, "tuning run") + ", then " : "") + counted(runs, "run") +
         " (" + counted(plan.settings.size(), "setting") + " x " + counted(plan.heads.size(), "head") + " x " +
         counted(plan.seeds.size(), "seed") + ") into " + out.string();
}

/// Results of one size are not mixed with those of the other.
void check_size(const Plan& plan, const std::filesystem::path& out) {
  const std::optional<bool> full = EarlierResults(out).full();
  require_usage(!full || *full == plan.full, "replicate", (out / kResults).string(), ": results ",
                plan.full ? "without --full" : "of --full",
                " are there: expected another --out, or --fresh, which starts over");
}

/// What is asked for beside the plan.
struct Flags {
  bool fresh = false, dry_run = false, full = false;
  std::string report;  // a folder of results: a page of them instead of runs
};

/// --report: study.html of what is there.
void report(const CommonOptions& options, const OwnPlan& asked, const Flags& flags) {
  require_usage(options.config.empty() && asked.own.images.empty(), "replicate",
                "--report: expected neither --config nor --images beside it");
  require_usage(
      options.set.empty() && !options.seed && !flags.fresh && !flags.dry_run && !flags.full && !options.print_config,
      "replicate", "--report runs nothing: expected --out FILE beside it at most");
  const std::string page =
      options.out.empty() ? (std::filesystem::path(flags.report) / kStudyPage).string() : options.out;
  const std::vector<StudyResults> studies = read_studies(flags.report);
  check_writable(page);
  refuse_foreign(page, is_study_page);
  const std::vector<JudgedClaim> claims = judge_claims(studies);
  std::printf("%s", study_table(claims).c_str());
  write_file(page, study_html(studies, claims, options.command));
  std::printf("\n%s\n", printable(page).c_str());
}

/// Prints what is asked for, and finds out whether all can be run; for --dry-run prints that, and does no more. Returns
/// why there will be no plots, as why_no_plots() does.
std::string prepare(const Plan& plan, const std::vector<PlannedRun>& tuning, const std::filesystem::path& out,
                    const CommonOptions& options, const Flags& flags, int64_t ranks) {
  std::vector<PlannedRun> all = tuning;
  const std::vector<FinishedRun> tuned = flags.fresh ? std::vector<FinishedRun>{} : finished_tuning(tuning, out);
  std::ranges::move(tuned_runs_of(plan, tuning, tuned), std::back_inserter(all));
  const std::string first = first_line(plan, tuning.size(), all.size() - tuning.size(), out);
  print_if_asked(options, configurations(all));
  const std::vector<PlannedRun> to_train = flags.fresh ? all : unfinished(all, out);
  check_models(plan, to_train);
  if (flags.fresh) refuse_fresh(all, out);
  if (flags.dry_run) {
    const auto columns = static_cast<size_t>(std::max<int64_t>(terminal_columns(), 40));
    std::printf("%s\n\n%s", wrapped(printable(first), columns).c_str(),
                stage_tables(plan, all, out, flags.fresh, columns).c_str());
    return "";
  }
  check_outputs(to_train, out, flags.fresh);
  if (flags.fresh && ranks > 1) start_over(all, out);
  const std::string no_plots = why_no_plots();
  if (!no_plots.empty()) note(no_plots + ": " + kReport + " has no plots");
  inform(first + (ranks > 1 ? " by " + std::to_string(ranks) + " ranks" : ""));
  return no_plots;
}

void replicate(const CommonOptions& options, const OwnPlan& asked, const Flags& flags) {
  if (!flags.report.empty()) return report(options, asked, flags);
  const bool fresh = flags.fresh;
  const std::string& images = asked.own.images;
  require_usage(options.config.empty() != images.empty(), "replicate",
                "expected --config PLAN.json, --images DIR --model NAME, or --report DIR");
  require_usage(images.empty() || !flags.full, "replicate", "--full: expected with --config, a plan that has `full`");
  Plan plan = images.empty() ? read_plan(options.config, options.set, flags.full)
                             : own_plan(options, asked.own, asked.heads, asked.seeds);
  claims_of(plan);  // refused now where it is wrong
  if (!options.data_root.empty()) plan.base.data.root = options.data_root;
  if (options.seed) plan.seeds = {*options.seed};
  const std::string name = images.empty() ? std::filesystem::path(options.config).stem().string()
                                          : name_of_images(images) + "-" + plan.base.model.name;
  const std::filesystem::path out = options.out.empty() ? "runs/" + name + (flags.full ? "-full" : "") : options.out;
  check_outside_images(out, asked.own);
  if (!fresh) check_size(plan, out);
  const std::vector<PlannedRun> tuning = tuning_runs_of(plan);
  Communicator& ranks = world();
  check_alike(ranks, plan, ranks.size() > 1 ? configurations(anywhere(tuning, runs_of(plan))) : "");
  const std::string no_plots = ranks.rank() > 0 ? "" : prepare(plan, tuning, out, options, flags, ranks.size());
  if (flags.dry_run || options.print_config) return;
  check_shared(ranks, {out / runs_of(plan).front().folder});
  const std::vector<Cell> cells = run_plan(plan, tuning, out, options, fresh && ranks.size() == 1, ranks);
  if (ranks.rank() > 0) return;
  std::printf("\n%s\n", table_markdown(plan, cells).c_str());
  for (const Comparison& c : comparisons(plan, cells)) std::printf("%s\n", sentence(plan, cells, c).c_str());
  write_file((out / kReport).string(), report_html(plan, cells, out, no_plots));
  std::printf("\nresults in %s: %s, %s, %s\n", printable(out.string()).c_str(), kResults, kTable, kReport);
}

}  // namespace
}  // namespace sked

int main(int argc, char** argv) {
  const sked::AppText text = {
      .name = "replicate",
      .about =
          "Runs a plan (heads x settings x seeds), then writes results.json, table.md and report.html. A plan that was "
          "stopped goes on where it was when the same command is given again; several such commands at once, or ranks "
          "of mpirun, share its runs; --set changes the plan's base.",
      .example =
          "build/replicate --config apps/configs/demo.json --out runs/demo\n"
          "  build/replicate --images photos --model resnet18 --heads det,het-xl --seeds 3\n"
          "  build/replicate --report runs/study",
      .ranks = true};
  sked::Flags flags;
  sked::OwnPlan asked;
  std::vector<sked::Option> options = sked::own_images_options(asked.own);
  std::erase_if(options, [](const sked::Option& option) { return option.name == "--head"; });
  options.insert(options.begin(), {{"--dry-run", &flags.dry_run,
                                    "Lists the runs, how far each is and what would be done, and does nothing"},
                                   {"--full", &flags.full, "The plan's full size: what its `full` changes of the base"},
                                   {"--fresh", &flags.fresh, "Start every run over instead of keeping what is there"}});
  options.push_back({.name = "--report",
                     .target = &flags.report,
                     .help = "Runs nothing: study.html (or the file of --out) from DIR/results.json and "
                             "DIR/*/results.json of plans with a `study`, with a verdict for each of their claims",
                     .value = "DIR"});
  options.push_back({.name = "--heads",
                     .target = &asked.heads,
                     .help = "With --images: the heads to compare",
                     .value = "HEAD,HEAD…",
                     .shows_default = true});
  options.push_back({.name = "--seeds",
                     .target = &asked.seeds,
                     .help = "With --images: runs of each head, with the seeds 0, 1 …",
                     .value = "N",
                     .in = {{1, 1000}},
                     .shows_default = true});
  return sked::run_app(argc, argv, text, options,
                       [&](const sked::CommonOptions& common) { sked::replicate(common, asked, flags); });
}
