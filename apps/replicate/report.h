#pragma once
// report.html: one self-contained page with the table, who wins, curves, reliability diagrams and the noisiest images.

#include <filesystem>
#include <string>
#include <vector>

#include "apps/replicate/results.h"

namespace sked {

/// The page for the finished runs of a plan whose folder is `out`. What cannot be drawn or shown is left out, and a
/// line on the page and on stderr says why; `no_plots` says so of all plots: a clause as of why_no_plots(), or empty.
std::string report_html(const Plan& plan, const std::vector<Cell>& cells, const std::filesystem::path& out,
                        std::string no_plots);

}  // namespace sked
