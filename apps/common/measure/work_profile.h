#pragma once
// Where the time of a piece of work goes: by kernel, and between kernels (core/work_count.h). The rows add up to all of
// it.

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "core/json.h"
#include "core/work_count.h"

namespace sked {

struct WorkProfile {
  double seconds = 0;                              // of all of it, by a clock of its own
  std::map<std::string, WorkCount::Entry> rows{};  // kernels, and what lies between them
};

/// The row of what is no kernel's: the tape, allocations, other code of the host.
inline constexpr const char* kBetweenKernels = "between kernels";

/// Carries `work` out with every call of a kernel timed, to the end of what it asks of the device.
WorkProfile profiled(Device device, const std::function<void()>& work, WorkCount::Listener listener = {});

/// Of several of the same work: that of median time, the shorter one of two. `profiles` is not empty.
const WorkProfile& median_profile(const std::vector<WorkProfile>& profiles);

/// Lines of a table, the longest row first: calls, ms, share of the sum, GFLOP/s, launches, MB of operands, GB/s.
std::string profile_table(const WorkProfile& profile);

/// Sets `work` (a list of rows, in the table's order) and `work_total` in `object`.
void put_profile(Json& object, const WorkProfile& profile);

}  // namespace sked
