#pragma once
// What a training step asks of one of N ranks: operations, collectives and memory, counted on the code that trains,
// which runs without being carried out (DryRun) as one of N ranks that are not there (DryRanks).

#include <cstdint>
#include <map>
#include <string>

#include "apps/scale/training_step.h"
#include "core/work_count.h"

namespace sked::scale {

/// Of a piece of a step, on one rank.
struct Work {
  int64_t operations = 0;                               // of products, convolutions and attention
  int64_t bytes = 0;                                    // of the operands of all kernels
  std::map<std::string, WorkCount::Entry> collectives;  // by name: calls, and bytes of the whole tensors

  Work& operator+=(const Work& other);
  Work& operator-=(const Work& other);
  Work& operator*=(int64_t times);
};
Work work_of(const WorkCount& count);

/// Of the rank with the largest share. Bytes are those of the allocator's blocks.
struct StepCount {
  int64_t images = 0, parts = 1;  // a rank's, and in how many parts they are computed one behind the other
  Work forward, backward;         // of the backbone
  Work head;                      // its forward and backward pass, and what it asks of the others
  Work update;                    // gradients exchanged, the optimizer's step
  int64_t parameters = 0, gradients = 0, state = 0;
  int64_t activations = 0;  // at the peak, above those: of the backbone
  int64_t head_peak = 0;    // likewise of the head

  int64_t memory() const { return parameters + gradients + state + activations + head_peak; }
};

/// A step on `batch` images by `ranks` ranks, each of which computes at most `at_once` images in one go. Throws
/// UsageError for fewer images than ranks.
StepCount count_step(const StepConfig& config, int64_t batch, int64_t ranks, int64_t at_once);

}  // namespace sked::scale
