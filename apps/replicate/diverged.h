#pragma once
// A tuning run whose numbers do not stay finite: what is left in its folder, so that no process tries again.

#include <filesystem>
#include <string>

#include "apps/replicate/results.h"

namespace sked {

void write_diverged(const PlannedRun& run, const std::filesystem::path& out, const std::string& why, double seconds);
void forget_diverged(const PlannedRun& run, const std::filesystem::path& out);
bool has_diverged(const PlannedRun& run, const std::filesystem::path& out);
/// Its result: a held-out NLL without bound. Throws UsageError where it was of another configuration, Error naming the
/// file that is none.
FinishedRun diverged_run(const PlannedRun& run, const std::filesystem::path& out);

}  // namespace sked
