#pragma once
// What a run folder that is there has to be for a command to go on with it.

#include <string>

#include "apps/common/checkpoint.h"
#include "apps/common/run_folder.h"
#include "apps/common/summary.h"

namespace sked {

/// The configuration of a run that is there: what `given` leaves open and the file of train.init decided is as it was.
RunConfig resumed(RunConfig given, const RunConfig& then);

/// Throws UsageError naming `path`, a file of the run, and the keys for a run of another configuration.
void check_same_run(const RunConfig& config, const RunConfig& then, const std::string& path);

/// May the training of a checkpoint go on with these images? Error naming what differs where it may not.
void check_same_data(const Checkpoint& checkpoint, const RunIdentity& run);

/// What a finished run came to. Data that changed since, or another precision, is said, not refused: the numbers are
/// those of then. `checkpoint` may be null: somebody kept the results and not the weights.
Summary finished(const RunFolder& folder, const RunConfig& config, const Checkpoint* checkpoint);

}  // namespace sked
