#pragma once
// What a run folder that is there has to be for a command to go on with it.

#include <optional>

#include "apps/common/measure/summary.h"
#include "apps/common/run/checkpoint.h"
#include "apps/common/run/run_folder.h"

namespace sked {

/// What a run folder holds to go on from.
struct Found {
  RunConfig config;                      // the one given, with what it leaves open as the run that is there has it
  std::optional<Checkpoint> checkpoint;  // last.safetensors
  bool done = false;                     // there is a summary, and no more to train
};

/// Files of a run's names are a run's where its configuration or its checkpoint is among them. Throws Error naming the
/// first of a folder that holds some and is no run's: they are somebody's own; also for one that is no regular file.
void check_own(const RunFolder& folder);

/// Reads a folder's config.json. Throws UsageError for another configuration than the one given, but for its length,
/// naming `path`, which was left by it, and the keys.
RunConfig check_same_configuration(const RunFolder& folder, const RunConfig& given, const std::string& path);

/// Looks into a folder that may not be there; with `fresh` only whether it may be used. A run may go on to another
/// length (train.epochs, train.steps). Throws UsageError for a run of another configuration, naming the file and the
/// keys, and for a finished one that is to be shorter; Error as check_own(), and for results whose training cannot go
/// on: its last checkpoint is gone. Nothing is changed.
Found find_run(const RunFolder& folder, const RunConfig& given, bool fresh);
/// The same, but for the bytes of tensors, which are not looked at; says nothing.
Found check_run(const RunFolder& folder, const RunConfig& given, bool fresh);

/// What a run's checkpoints say of it.
RunIdentity identify(const RunConfig& config, const Splits& splits);

/// May the training of a checkpoint go on with these images, and with the files that its configuration names? Error
/// naming what differs where it may not; a file that is not there any more is not needed, and `run` keeps the
/// checkpoint's fingerprint of it. What may change its numbers (another number of threads, another precision) is said.
void check_same_training(const Checkpoint& checkpoint, RunIdentity& run);

/// What a finished run came to. Data that changed since, another precision, or a last checkpoint that is gone
/// (`checkpoint` is null: somebody kept the results and not the weights) is said, not refused: the numbers are those of
/// then.
Summary finished(const RunFolder& folder, const RunConfig& config, const Checkpoint* checkpoint);

}  // namespace sked
