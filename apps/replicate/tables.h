#pragma once
// A plan's results as files.

#include <string>
#include <vector>

#include "apps/replicate/results.h"

namespace sked {

/// Markdown: for each setting a table of mean ± standard error, and one of paired differences with 95 % intervals.
std::string table_markdown(const Plan& plan, const std::vector<Cell>& cells);
/// What was measured of a cell's runs when all were trained, as results.json has it: {"ensemble", "calibrated",
/// "noise"}, those that there are.
Json further_json(const Cell& cell);
/// results.json: every run's numbers, the estimates, the comparisons, the paired differences.
std::string results_json(const Plan& plan, const std::vector<Cell>& cells);

}  // namespace sked
