#pragma once
// When things happen in a training, in optimizer steps.

#include <cstdint>

#include "apps/common/config/config.h"
#include "autograd/optimizer.h"

namespace sked {

struct Timetable {
  int64_t epoch_steps = 1;  // batches of an epoch
  int64_t total = 0;        // of the training; 0: it only measures what it begins with
  int64_t evaluation = 1;   // between two evaluations
  int64_t checkpoint = 1;   // between two checkpoints

  double epoch(int64_t step) const { return static_cast<double>(step) / static_cast<double>(epoch_steps); }
  /// Is `step` a multiple of `interval`, or the last?
  bool due(int64_t step, int64_t interval) const { return step % interval == 0 || step == total; }
};

Timetable timetable(const TrainConfig& config, int64_t epoch_steps);

/// Throws UsageError for a value out of range.
Schedule schedule(const ScheduleConfig& config, const Timetable& timetable);

}  // namespace sked
