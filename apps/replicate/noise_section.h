#pragma once
// The report's part on what a head's noise says: heat maps, predicted against known noise, the noisiest images.

#include <filesystem>
#include <functional>
#include <string>

#include "apps/common/measure/plots.h"
#include "apps/replicate/results.h"

namespace sked {

/// Draws a plot, or says why not.
using DrawPlot = std::function<std::string(const Plot&)>;

/// Of the cell's first run; empty for a head that predicts none, and where the weights were removed. Throws Error where
/// weights or images cannot be read.
std::string noise_section(const Plan& plan, const Cell& cell, const std::filesystem::path& out, const DrawPlot& draw);

}  // namespace sked
