#pragma once
// The steps of a training: a batch, its loss and gradients, the optimizer with the average.

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "apps/common/run/averaged_weights.h"
#include "apps/common/run/checkpoint.h"
#include "apps/common/run/gradient_step.h"
#include "apps/common/run/task.h"
#include "apps/common/run/timetable.h"

namespace sked {

/// What a step was made with.
struct StepDone {
  double learning_rate = 0;
  Tensor gradient_norm = {};  // before clipping, on the device; undefined where it is not computed
};

/// One step after the other. What they add up to is in the TrainerState that the caller keeps.
class TrainingSteps {
 public:
  using Note = std::function<void(const std::string&)>;

  /// `task`, whose ranks make the steps together, is to live as long. With `graph` steps are replayed where the device
  /// can (gradient_step.h). `note` is told of images that are left out, and why steps are not replayed.
  TrainingSteps(const RunConfig& config, Task& task, Device device, bool graph, const Note& note);

  const Timetable& timetable() const { return timetable_; }
  double images_per_step() const;
  const LoaderStatistics& loader() const { return loader_.statistics(); }
  AveragedWeights& averaged() { return averaged_; }
  Trained trained() { return {&task_.model(), &optimizer_, averaged_.average(), &task_.ranks()}; }
  /// What summing gradients over ranks took.
  const GradientSums& sums() const { return gradients_.sums(); }

  /// To be called before the first of a row of steps: its batches come from the middle of their epoch.
  void start(int64_t step);
  /// Makes the step after state.step. Throws DivergedError for a loss that is not finite; where a line of training is
  /// due, also for weights that are not.
  StepDone step(TrainerState& state);
  /// Is a line of training due after `step`?
  bool line_due(int64_t step) const { return timetable_.due(step, config_.train.log_every); }
  /// Looks at the losses of all steps made, and adds them to `state`: that waits for the device. Throws DivergedError
  /// for one that is not finite.
  void check_losses(TrainerState& state);
  /// The latest that was looked at.
  double last_loss() const { return last_loss_; }

 private:
  Batch next_batch(int64_t step);
  BatchCut agreed_cut(const Batch& batch, int64_t step);
  void check_weights(int64_t step) const;

  const RunConfig& config_;
  Task& task_;
  const Device device_;
  Loader loader_;
  SkipCount skipped_;  // of all ranks
  const Timetable timetable_;
  const Schedule schedule_;
  GradientStep gradients_;
  Optimizer optimizer_;
  AveragedWeights averaged_;
  std::vector<std::pair<int64_t, Tensor>> losses_;  // of the last steps, not looked at yet
  double last_loss_ = 0;
};

}  // namespace sked
