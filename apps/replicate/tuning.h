#pragma once
// Tuning: every setting and head tries the same grid of values, and those of the lowest held-out NLL, the mean of a few
// seeds, are used for the plan's seeds: the same budget for every head, and no look at the test images.

#include <filesystem>
#include <string>
#include <vector>

#include "apps/replicate/plan.h"
#include "apps/replicate/results.h"

namespace sked {

/// A run for each point of the grid of every setting and head and each of the plan's tuning_seeds, in the folder
/// `<setting>/<head>/tuning/<point>/seed-<n>`; none where the plan has no `tuning`. A key that a setting or a head sets
/// itself is left out of its grid, which may leave it none. All configurations are validated: throws UsageError as
/// runs_of(), for a grid of more than 64 points, and where one of tuning_seeds is one of the plan's seeds.
std::vector<PlannedRun> tuning_runs_of(const Plan& plan);

/// Those of tuning that are finished in `out`. Throws what find_planned() and read_summary() throw.
std::vector<FinishedRun> finished_tuning(const std::vector<PlannedRun>& tuning, const std::filesystem::path& out);

/// What the finished runs of tuning came to for a setting and a head, the lowest mean chosen, of equal ones the first.
std::vector<Trial> trials_of(const std::vector<FinishedRun>& tuned, size_t setting, size_t head);

/// runs_of() with the chosen values; without any, those of which not all points are finished are undecided. Throws
/// Error naming setting and head where no point was trained to its end.
std::vector<PlannedRun> tuned_runs_of(const Plan& plan, const std::vector<PlannedRun>& tuning,
                                      const std::vector<FinishedRun>& tuned);

/// `Chosen by the NLL of held-out images, of each point the mean over the seeds 1000, 1001: DET: schedule.peak 0.01 (3
/// tried, 12s); …` for one setting's cells; empty where nothing was tuned.
std::string tuning_sentence(const Plan& plan, const std::vector<const Cell*>& rows);
/// [{values, held_out_nll [of each seed; null: it diverged], train_seconds (of all of them), chosen}, …]
Json tuning_json(const std::vector<Trial>& trials);

}  // namespace sked
