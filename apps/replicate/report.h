#pragma once
// report.html: one self-contained page with the table, who wins, curves, reliability diagrams and the noisiest images.

#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "apps/replicate/results.h"

namespace sked {

/// Epoch and value of `key` of each periodic evaluation in the text of a metrics.jsonl; other lines are passed over.
std::vector<std::pair<double, double>> periodic_values(std::string_view log, const std::string& key);

/// The page for the finished runs of a plan whose folder is `out`. What cannot be drawn or shown is left out, and a
/// line on the page and on stderr says why; `no_plots` says so of all plots: a clause as of why_no_plots(), or empty.
std::string report_html(const Plan& plan, const std::vector<Cell>& cells, const std::filesystem::path& out,
                        std::string no_plots);

}  // namespace sked
