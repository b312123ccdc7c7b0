#include "apps/replicate/run_plan.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>
#include <set>
#include <string>

#include "apps/common/config/interrupt.h"
#include "apps/common/config/outputs.h"
#include "apps/common/config/progress.h"
#include "apps/common/run/checkpoint.h"
#include "apps/common/run/run_folder.h"
#include "apps/common/run/trainer.h"
#include "apps/replicate/after_runs.h"
#include "apps/replicate/diverged.h"
#include "apps/replicate/ranks.h"
#include "apps/replicate/stages.h"
#include "apps/replicate/tables.h"
#include "apps/replicate/tuning.h"
#include "core/error.h"
#include "core/file.h"

namespace sked {
namespace {

/// `: nll 0.4512  accuracy 84.10 %  12 s`, or `: held-out nll 0.4512  12 s`
std::string result_line(const Summary& summary, bool of_tuning) {
  char text[96];
  if (of_tuning)
    std::snprintf(text, sizeof text, ": held-out nll %.4f  %.0f s", summary.best_nll, summary.train_seconds);
  else
    std::snprintf(text, sizeof text, ": nll %.4f  accuracy %.2f %%  %.0f s", summary.test.measures.nll,
                  100 * summary.test.measures.accuracy, summary.train_seconds);
  return text;
}

/// For half a minute a client of NFS may believe that what another machine has finished is not there. It looks again
/// in a folder that it changes itself. Throws BusyError where another process has the run still.
void look_anew(const RunFolder& folder) {
  if (has_another_process(folder)) detail::throw_error<BusyError>("replicate", folder.path.string(), ": it is taken");
  folder.create();
  check_writable(folder.config());
}

/// A run whose summary this process does not have yet.
struct OpenRun {
  PlannedRun run;
  Stage stage, first_stage;  // now; when this process began
};

class PlanRuns {
 public:
  PlanRuns(const Plan& plan, const std::vector<PlannedRun>& runs, const std::filesystem::path& out,
           const CommonOptions& options, bool fresh, bool with_ranks)
      : plan_(plan), out_(out), options_(options), fresh_(fresh), with_ranks_(with_ranks), count_(runs.size()) {
    for (const PlannedRun& run : runs) open_.push_back({run, stage(run), stage(run)});
  }

  /// Each time that one or more are finished, `on_finished` gets those so far.
  std::vector<FinishedRun> all(const std::function<void(const std::vector<FinishedRun>&)>& on_finished);

 private:
  /// Whatever is there of one that is to start over does not count.
  Stage stage(const PlannedRun& run) const { return fresh_ ? Stage::planned : stage_of(run, out_); }
  void sort();
  bool take();
  FinishedRun result_of(const PlannedRun& run, const std::string& label, bool theirs) const;
  void wait();

  const Plan& plan_;
  const std::filesystem::path out_;
  const CommonOptions& options_;
  const bool fresh_, with_ranks_;
  const size_t count_;
  std::vector<OpenRun> open_;
  std::vector<FinishedRun> finished_;
  std::set<std::string> passed_over_;  // folders, each said once
  bool waiting_ = false;
};

std::vector<FinishedRun> PlanRuns::all(const std::function<void(const std::vector<FinishedRun>&)>& on_finished) {
  while (!open_.empty()) {
    sort();
    if (!take()) {
      wait();
      continue;
    }
    // After each run: a plan that is stopped has its results so far.
    sort();
    if (open_.empty() || open_.front().stage != Stage::finished) on_finished(finished_);
  }
  return finished_;
}

/// By what is on the disk now, which other processes change.
void PlanRuns::sort() {
  for (OpenRun& open : open_) open.stage = stage(open.run);
  std::ranges::stable_sort(open_, {}, &OpenRun::stage);
}

/// Trains, or reads, a run, and says what it came to. One of tuning may diverge: that is a result as well.
FinishedRun PlanRuns::result_of(const PlannedRun& run, const std::string& label, bool theirs) const {
  if (fresh_) forget_diverged(run, out_);
  if (has_diverged(run, out_)) return diverged_run(run, out_);
  const auto begin = std::chrono::steady_clock::now();
  try {
    const Summary summary = train(run.config, out_ / run.folder,
                                  {.device = options_.device,
                                   .graph = options_.graph,
                                   .fresh = fresh_,
                                   .label = label,
                                   .command = options_.command});
    inform(label + result_line(summary, run.of_tuning) + (theirs ? "  (by another process)" : ""));
    return {run, summary, periodic_evaluations(RunFolder{out_ / run.folder})};
  } catch (const DivergedError& error) {
    if (!run.of_tuning) throw;
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    write_diverged(run, out_, error.what(), seconds.count());
    inform(label + ": diverged");
    return diverged_run(run, out_);
  }
}

/// Trains, or reads, the first run that no other process has; false where they have all.
bool PlanRuns::take() {
  for (auto open = open_.begin(); open != open_.end(); ++open) {
    const PlannedRun& run = open->run;
    const std::string name = plan_.settings[run.setting].name + " · " + plan_.heads[run.head].name + " · " + run.what();
    const std::string label = "[" + std::to_string(finished_.size() + 1) + "/" + std::to_string(count_) + "] " + name;
    const bool theirs = open->stage == Stage::finished && open->first_stage != Stage::finished;
    try {
      if (with_ranks_ && open->stage != Stage::finished) look_anew({out_ / run.folder});
      finished_.push_back(result_of(run, label, theirs));
    } catch (const BusyError&) {
      if (!with_ranks_ && passed_over_.insert(run.folder).second)
        inform(name + ": another process has it, passed over");
      continue;
    }
    waiting_ = false;
    open_.erase(open);
    return true;
  }
  return false;
}

void PlanRuns::wait() {
  if (!waiting_)
    inform("waiting for " + std::to_string(open_.size()) + (open_.size() == 1 ? " run" : " runs") +
           (with_ranks_ ? " of other ranks"
                        : " of other processes, to go on with what one of them leaves; Ctrl-C ends this one"));
  waiting_ = true;
  got_further();  // train.time_limit ends it: nothing would be lost
  wait_a_moment();
}

}  // namespace

std::vector<Cell> run_plan(const Plan& plan, const std::vector<PlannedRun>& tuning, const std::filesystem::path& out,
                           const CommonOptions& options, bool fresh, Communicator& ranks) {
  StopTogether together(ranks, out);
  const auto all = [&](const std::vector<PlannedRun>& runs, const auto& on_finished) {
    std::vector<FinishedRun> finished;
    together.run([&] { finished = PlanRuns(plan, runs, out, options, fresh, ranks.size() > 1).all(on_finished); });
    return finished;
  };
  std::vector<FinishedRun> tuned = all(tuning, [](const auto&) {});
  const auto place = [&](const FinishedRun& run) {
    return std::ranges::find(tuning, run.plan.folder, &PlannedRun::folder) - tuning.begin();
  };
  std::ranges::sort(tuned, {}, place);
  std::vector<Cell> cells;
  AfterRuns after(plan, out);
  const auto write = [&] {
    if (ranks.rank() > 0) return;
    write_file((out / kResults).string(), results_json(plan, cells));
    write_file((out / kTable).string(), table_markdown(plan, cells));
  };
  all(tuned_runs_of(plan, tuning, tuned), [&](const auto& finished) {
    cells = cells_of(plan, finished);
    for (Cell& cell : cells) cell.tuning = trials_of(tuned, cell.setting, cell.head);
    after.recall(cells);
    write();
  });
  after.measure(cells, options, ranks, write);  // stopped, it keeps those so far
  return cells;
}

}  // namespace sked
