#pragma once
// A plan without a file: heads side by side on somebody's own images.

#include <cstdint>
#include <string>

#include "apps/common/config/cli.h"
#include "apps/common/run/own_images.h"
#include "apps/replicate/plan.h"

namespace sked {

/// One setting, the configuration that `build/train` makes of these options, with each of `heads` (names between
/// commas) and the seeds 0 … `seeds` - 1. Throws UsageError for another name or no seed, and what configured() throws.
Plan own_plan(const CommonOptions& options, OwnImages own, const std::string& heads, int64_t seeds);

}  // namespace sked
