#pragma once
// The checkpoints of one run as its training goes: the last, the one before it, the best.

#include <cstdint>
#include <string>

#include "apps/common/run/checkpoint.h"
#include "apps/common/run/run_folder.h"

namespace sked {

class RunCheckpoints {
 public:
  /// `run` and `ranks` are to live as long. All ranks call what follows, and rank 0 changes files.
  RunCheckpoints(const RunFolder& folder, const RunIdentity& run, Communicator& ranks = alone())
      : folder_(folder), run_(run), ranks_(ranks) {}

  /// What last.safetensors holds, kept where train.keep_checkpoints says so; of step 0 there is nothing to save.
  void resume(const TrainerState& state);
  /// Has `state` got further than last.safetensors?
  bool behind(const TrainerState& state) const {
    return state.step > saved_step_ || state.evaluated_step > saved_evaluation_;
  }

  /// Writes last.safetensors; that of a step before becomes previous.safetensors. With train.keep_checkpoints n it is
  /// step-N.safetensors as well, and of those up to this step the last n stay. Throws Error where it cannot be written,
  /// DivergedError where a value is not finite: every file is then as it was.
  void save_last(const Trained& trained, const TrainerState& state);
  /// Writes best.safetensors, with the same errors.
  void save_best(const Module& model, const TrainerState& state) const;
  /// Copies best.safetensors into `model`. Throws Error where it is not there, or is another run's.
  void restore_best(const Module& model) const;

  /// Where this run is to write files step-N.safetensors: throws Error for one there that is not the checkpoint of step
  /// N.
  void check_kept() const;
  /// Removes every step-N.safetensors that is the checkpoint of step N.
  void clear_kept() const;

  /// Ends a training whose numbers are not finite, `step` being the last that was begun: a DivergedError that says
  /// `what`, what may help and which checkpoints there are.
  [[noreturn]] void diverged(const std::string& what, int64_t step) const;

 private:
  void keep(int64_t step) const;

  const RunFolder folder_;
  const RunIdentity& run_;
  Communicator& ranks_;
  int64_t saved_step_ = 0, saved_evaluation_ = 0;
};

}  // namespace sked
