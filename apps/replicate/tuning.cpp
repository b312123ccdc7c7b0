#include "apps/replicate/tuning.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "apps/common/config/progress.h"
#include "apps/common/run/run_folder.h"
#include "apps/replicate/diverged.h"
#include "apps/replicate/stages.h"
#include "core/error.h"
#include "core/text.h"

namespace sked {
namespace {

constexpr size_t kMostPoints = 64;

/// Every combination of the values of `keys`, the last key's changing first; none of no keys.
std::vector<Json> grid_of(const std::vector<TunedKey>& keys) {
  std::vector<Json> points;
  if (!keys.empty()) points.push_back(Json::object());
  for (const TunedKey& tuned : keys) {
    std::vector<Json> finer;
    for (const Json& point : points)
      for (const Json& value : tuned.values) {
        finer.push_back(point);
        finer.back()[tuned.key] = value;
      }
    points = std::move(finer);
  }
  return points;
}

/// The plan's tuned keys without those that the setting or the head sets itself.
std::vector<TunedKey> keys_of(const Plan& plan, size_t setting, size_t head) {
  std::set<std::string> own;
  for (const std::string& changes : {plan.settings[setting].changes, plan.heads[head].changes})
    own.merge(changed_keys(parse_json(changes, plan.path)));
  std::vector<TunedKey> keys;
  for (const TunedKey& tuned : plan.tuning)
    if (!own.contains(tuned.key)) keys.push_back(tuned);
  return keys;
}

/// Throws UsageError unless the grid can be tried.
void check_grid(const Plan& plan) {
  size_t points = 1;
  for (const TunedKey& tuned : plan.tuning) points = std::min(points * tuned.values.size(), 1000 * kMostPoints);
  require_usage(points <= kMostPoints, "plan", plan.path, ": `tuning` expected at most ", kMostPoints,
                " points, the grid has ", points);
  for (const uint64_t seed : plan.tuning_seeds)
    require_usage(plan.tuning.empty() || std::ranges::count(plan.seeds, seed) == 0, "plan", plan.path,
                  ": `tuning_seeds` expected none of the seeds, got ", seed);
}

}  // namespace

std::vector<PlannedRun> tuning_runs_of(const Plan& plan) {
  constexpr size_t kLongestFolder = 255;  // bytes: NAME_MAX of Linux
  check_grid(plan);
  std::vector<PlannedRun> runs;
  std::set<std::string> folders;
  for (size_t s = 0; s < plan.settings.size(); ++s)
    for (size_t h = 0; h < plan.heads.size(); ++h)
      for (const Json& point : grid_of(keys_of(plan, s, h))) {
        PlannedRun run{s, h, 0, varied(plan, s, h, point.dump()), {}, point.dump(), true};
        const std::string name = folder_name(values_text(run.values));
        const std::string folder = cell_folder(plan, s, h) + "/tuning/" + name;
        require_usage(name.size() <= kLongestFolder && folders.insert(folder).second, "plan", plan.path,
                      ": tuning: ", excerpt(values_text(run.values)), ": expected values whose folder, ", excerpt(name),
                      ", no others share, of at most ", kLongestFolder, " bytes");
        for (const uint64_t seed : plan.tuning_seeds) {
          run.seed = run.config.seed = seed;
          run.folder = folder + "/seed-" + std::to_string(seed);
          runs.push_back(run);
        }
      }
  return runs;
}

std::vector<FinishedRun> finished_tuning(const std::vector<PlannedRun>& tuning, const std::filesystem::path& out) {
  std::vector<FinishedRun> finished;
  for (const PlannedRun& run : tuning) {
    if (has_diverged(run, out))
      finished.push_back(diverged_run(run, out));
    else if (stage_of(run, out) == Stage::finished && find_planned(run, out, false).done)
      finished.push_back({run, read_summary(RunFolder{out / run.folder}.summary())});
  }
  return finished;
}

std::vector<Trial> trials_of(const std::vector<FinishedRun>& tuned, size_t setting, size_t head) {
  std::vector<Trial> trials;
  for (const FinishedRun& run : tuned) {
    if (run.plan.setting != setting || run.plan.head != head) continue;
    auto trial = std::ranges::find(trials, run.plan.values, &Trial::values);
    if (trial == trials.end()) trial = trials.insert(trial, Trial{.values = run.plan.values});
    trial->held_out_nll.push_back(run.summary.best_nll);
    trial->train_seconds += run.summary.train_seconds;
  }
  const auto best = std::ranges::min_element(trials, {}, &Trial::mean_nll);
  if (best != trials.end()) best->chosen = std::isfinite(best->mean_nll());
  return trials;
}

std::vector<PlannedRun> tuned_runs_of(const Plan& plan, const std::vector<PlannedRun>& tuning,
                                      const std::vector<FinishedRun>& tuned) {
  std::vector<PlannedRun> runs = runs_of(plan);
  for (PlannedRun& run : runs) {
    const auto same_cell = [&](const PlannedRun& other) {
      return other.setting == run.setting && other.head == run.head;
    };
    const auto of_tuned = [&](const FinishedRun& other) { return same_cell(other.plan); };
    const auto all = std::ranges::count_if(tuning, same_cell);
    run.undecided = std::ranges::count_if(tuned, of_tuned) < all;
    if (run.undecided || all == 0) continue;
    const std::vector<Trial> trials = trials_of(tuned, run.setting, run.head);
    const auto chosen = std::ranges::find(trials, true, &Trial::chosen);
    require(chosen != trials.end(), "tuning", cell_folder(plan, run.setting, run.head),
            ": no point of the grid stayed finite with every seed, of ", trials.size(), " tried");
    run.values = chosen->values;
    run.config = varied(plan, run.setting, run.head, run.values);
    run.config.seed = run.seed;
  }
  return runs;
}

std::string tuning_sentence(const Plan& plan, const std::vector<const Cell*>& rows) {
  std::vector<std::string> parts;
  for (const Cell* cell : rows) {
    double seconds = 0;
    std::string values;
    for (const Trial& trial : cell->tuning) {
      seconds += trial.train_seconds;
      if (trial.chosen) values = values_text(trial.values);
    }
    if (cell->tuning.empty()) continue;
    parts.push_back(plan.heads[cell->head].name + ": " + values + " (" + std::to_string(cell->tuning.size()) +
                    " tried, " + duration(seconds) + ")");
  }
  if (parts.empty()) return "";
  std::vector<std::string> seeds;
  for (const uint64_t seed : plan.tuning_seeds) seeds.push_back(std::to_string(seed));
  const std::string over = seeds.size() > 1 ? "the mean over the seeds " : "by seed ";
  return "Chosen by the NLL of held-out images, of each point " + over + join(seeds) + ": " + join(parts, "; ") + ".";
}

Json tuning_json(const std::vector<Trial>& trials) {
  Json list = Json::array();
  for (const Trial& trial : trials)
    list.push_back({{"values", parse_json(trial.values, "tuning")},
                    {"held_out_nll", trial.held_out_nll},
                    {"train_seconds", trial.train_seconds},
                    {"chosen", trial.chosen}});
  return list;
}

}  // namespace sked
