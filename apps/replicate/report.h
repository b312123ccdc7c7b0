#pragma once
// report.html: one self-contained page with the table, who wins, curves, reliability diagrams and the noisiest images.

#include <filesystem>
#include <string>
#include <vector>

#include "apps/replicate/results.h"

namespace sked {

/// The page for the finished runs of a plan whose folder is `out`. Without gnuplot the page says so in place of the
/// plots.
std::string report_html(const Plan& plan, const std::vector<Cell>& cells, const std::filesystem::path& out);

}  // namespace sked
