#pragma once
// How far the runs of a plan are, and what is to be done with them.

#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

#include "apps/common/run/resume.h"
#include "apps/replicate/plan.h"

namespace sked {

/// How far a run is, in the order in which a plan takes its runs.
enum class Stage { finished, begun, planned };

/// Of the plan in the folder `out`: what lies there says it.
Stage stage_of(const PlannedRun& run, const std::filesystem::path& out);

/// check_run() of its folder. What another process is writing there may be seen in the middle: only that it is of
/// another configuration is an error then.
Found find_planned(const PlannedRun& run, const std::filesystem::path& out, bool fresh);

/// What --dry-run prints: for every setting a table of its runs, with their stages and what would be done. No line is
/// longer than `columns`, but for words that are. Throws what find_planned() throws: UsageError or Error for a folder
/// whose run cannot go on. Nothing is written.
std::string stage_tables(const Plan& plan, const std::vector<PlannedRun>& runs, const std::filesystem::path& out,
                         bool fresh, size_t columns);

}  // namespace sked
