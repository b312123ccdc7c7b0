#pragma once
// The first screen of a training: what was loaded, and what becomes of it.

#include <string>
#include <vector>

#include "apps/common/config/config.h"
#include "apps/common/run/run_folder.h"
#include "apps/common/run/task.h"
#include "apps/common/run/timetable.h"
#include "core/device.h"

namespace sked {

/// At most twelve lines, of at most 80 columns but for the folder's: data, classes, images of each part, network and
/// head with their parameters, what becomes of an image, how long it is trained, on what, and where the run goes.
std::vector<std::string> opening(const RunConfig& config, Task& task, const Timetable& timetable, Device device,
                                 const RunFolder& folder);

}  // namespace sked
