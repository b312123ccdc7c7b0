#pragma once
// The reliability diagram of several runs together.

#include <string>
#include <vector>

#include "apps/common/measure/metrics.h"
#include "apps/common/measure/plots.h"

namespace sked {

/// Accuracy against confidence over all of the runs; empty bins are left out.
Series reliability(const std::vector<const Measures*>& runs, const std::string& name);

}  // namespace sked
