#pragma once
// All that a plan's results hold, beside what its claims compare: so that nothing is selected.

#include <string>

#include "apps/replicate/study_results.h"

namespace sked {

/// Every cell with the mean ± standard error of every metric, folded.
std::string grid_html(const StudyResults& results);

/// What was tried for each cell before its runs, folded; empty where nothing was.
std::string tuning_html(const StudyResults& results);

/// Which runs of the plan are not there; empty where all are.
std::string missing_runs(const StudyResults& results);

/// File, command, machine and days.
std::string origin_html(const StudyResults& results);

}  // namespace sked
