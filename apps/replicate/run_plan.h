#pragma once
// The runs of a plan, trained by as many processes as are started on it, alone or as ranks.

#include <filesystem>
#include <vector>

#include "apps/common/config/cli.h"
#include "apps/replicate/plan.h"
#include "apps/replicate/results.h"
#include "core/communicator.h"

namespace sked {

/// Its tuning, then its runs with what that chose, into the folder `out`, trained where they are not yet, with
/// results.json and table.md as they come; then what is measured of all (after_runs.h). Those that are there go first:
/// one that does not belong here is refused before others are trained, and results never lack a run that is there.
///
/// A run that another process has (it holds the lock of metrics.jsonl) is passed over. When only such are left this
/// waits: what the other finishes is read, and what it leaves, having died, is gone on with. So every process ends with
/// the results of all runs. Throws what train() throws; Interrupted on Ctrl-C.
///
/// Ranks are such processes: each run is trained by one of them alone. They begin and stop together, and rank 0 writes
/// the results. --fresh is done before they begin (start_over()).
std::vector<Cell> run_plan(const Plan& plan, const std::vector<PlannedRun>& tuning, const std::filesystem::path& out,
                           const CommonOptions& options, bool fresh, Communicator& ranks);

}  // namespace sked
