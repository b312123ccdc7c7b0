#include "apps/replicate/stages.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <map>
#include <tuple>
#include <utility>

#include "apps/common/run/run_folder.h"
#include "apps/common/run/timetable.h"
#include "apps/replicate/diverged.h"
#include "core/error.h"
#include "core/text.h"

namespace sked {
namespace {

using Row = std::array<std::string, 5>;

std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4g", value);
  return text;
}

/// `epoch 10` or `step 200`: where a training ends.
std::string end_of(const TrainConfig& config) {
  return config.steps > 0 ? "step " + std::to_string(config.steps) : "epoch " + number(config.epochs);
}

/// `at epoch 2.5 of 10`, `at step 40 of 200`. Checkpoints of earlier versions do not know how long an epoch is.
std::string position(const Checkpoint& checkpoint, const TrainConfig& config) {
  const int64_t step = checkpoint.state.step;
  const int64_t images = checkpoint.data ? checkpoint.data->train.count : 0;
  if (config.steps > 0) return "at step " + std::to_string(step) + " of " + std::to_string(config.steps);
  if (images == 0) return "at step " + std::to_string(step);
  const Timetable times = timetable(config, images / std::min(config.batch_size, images));
  return "at epoch " + number(times.epoch(step)) + " of " + number(config.epochs);
}

/// The stage of a run, and what would be done.
std::pair<std::string, std::string> stage_and_next(const PlannedRun& run, const std::filesystem::path& out,
                                                   bool fresh) {
  const RunFolder folder{out / run.folder};
  const Stage stage = stage_of(run, out);
  if (run.undecided) return {stage == Stage::planned ? "not begun" : "there", "after tuning"};
  if (has_diverged(run, out) && !fresh) return {"diverged", "keep"};
  const Found found = find_planned(run, out, fresh);
  if (fresh && stage != Stage::planned) return {stage == Stage::finished ? "finished" : "begun", "start over"};
  if (found.done) return {"finished", "keep"};
  const std::string now = found.checkpoint ? position(*found.checkpoint, run.config.train) : "not begun";
  if (has_another_process(folder)) return {found.checkpoint ? now : "begun", "another process"};
  if (!found.checkpoint) return {now, "train"};
  if (stage == Stage::finished) return {"finished", "go on to " + end_of(run.config.train)};
  return {now, "go on"};
}

/// Rows whose columns stand below each other, behind two blanks, the widest cut where they do not fit.
std::string aligned(const std::vector<Row>& rows, size_t columns) {
  constexpr size_t kLeast = 4, kBetween = 2;
  std::array<size_t, std::tuple_size_v<Row>> widths{};
  size_t line = 0;
  for (size_t i = 0; i < widths.size(); ++i) {
    for (const Row& row : rows) widths[i] = std::max(widths[i], display_width(row[i]));
    line += kBetween + widths[i];
  }
  for (; line > columns && *std::ranges::max_element(widths) > kLeast; --line) --*std::ranges::max_element(widths);
  std::string text;
  for (const Row& row : rows) {
    for (size_t i = 0; i < widths.size(); ++i) {
      std::string cell = row[i];
      if (display_width(cell) > widths[i]) cell = cut_to_columns(cell, widths[i] - 1) + "…";
      const size_t blanks = i + 1 < widths.size() ? widths[i] - display_width(cell) : 0;
      text += std::string(kBetween, ' ') + cell + std::string(blanks, ' ');
    }
    text += '\n';
  }
  return text;
}

}  // namespace

Stage stage_of(const PlannedRun& run, const std::filesystem::path& out) {
  const RunFolder folder{out / run.folder};
  if (std::filesystem::exists(folder.summary()) || has_diverged(run, out)) return Stage::finished;
  return std::filesystem::exists(folder.last()) ? Stage::begun : Stage::planned;
}

Found find_planned(const PlannedRun& run, const std::filesystem::path& out, bool fresh) {
  const RunFolder folder{out / run.folder};
  try {
    return check_run(folder, run.config, fresh);
  } catch (const UsageError&) {
    throw;
  } catch (const Error&) {
    if (!has_another_process(folder)) throw;
    return {.config = run.config, .checkpoint = {}};
  }
}

std::string stage_tables(const Plan& plan, const std::vector<PlannedRun>& runs, const std::filesystem::path& out,
                         bool fresh, size_t columns) {
  std::vector<std::vector<Row>> tables(plan.settings.size(), {{"head", "seed", "folder", "stage", "next"}});
  std::map<std::string, size_t> counts;
  for (const PlannedRun& run : runs) {
    const auto [stage, next] = stage_and_next(run, out, fresh);
    const std::string folder = run.folder.substr(run.folder.find('/') + 1);
    tables[run.setting].push_back({plan.heads[run.head].name, std::to_string(run.seed), folder, stage, next});
    ++counts[next];
  }
  std::string text;
  for (size_t s = 0; s < tables.size(); ++s) {
    const std::string folder = (out / folder_name(plan.settings[s].name)).string();
    text += wrapped(plan.settings[s].name + ", in " + printable(folder) + ":", columns) + "\n" +
            aligned(tables[s], columns) + "\n";
  }
  std::vector<std::string> sums;
  for (const auto& [next, count] : counts) sums.push_back(next + ": " + std::to_string(count));
  return text + wrapped("Nothing is done (--dry-run). Next: " + join(sums), columns) + "\n";
}

}  // namespace sked
