#pragma once
// The average of the weights that evaluations use and checkpoints keep, where train.ema_decay asks for one.

#include <cstdint>
#include <optional>

#include "apps/common/config/config.h"
#include "apps/common/run/task.h"
#include "autograd/optimizer.h"

namespace sked {

/// Where no average is kept, nothing here does anything: evaluations use the weights as trained.
class AveragedWeights {
 public:
  /// `task` is to live as long.
  AveragedWeights(const RunConfig& config, Task& task, Device device);
  /// For steps of the optimizer, which update it. Null where none is kept.
  WeightAverage* average() { return average_ ? &*average_ : nullptr; }

  /// While one lives the model has the averaged weights.
  class InPlace {
   public:
    explicit InPlace(AveragedWeights& weights) : weights_(weights) { weights_.swap(); }
    ~InPlace() { weights_.swap(); }
    InPlace(const InPlace&) = delete;
    InPlace& operator=(const InPlace&) = delete;

   private:
    AveragedWeights& weights_;
  };

  /// Averaged weights have no batch statistics of their own, and those of the last weights are not theirs: here they
  /// get the mean over the first batches of an epoch, in training mode ("precise batch norm": Wu & Johnson, arXiv
  /// 2105.07576). To be called by all ranks while they are in place; once for each step is enough.
  void estimate_statistics(int64_t step);

 private:
  void swap() {
    if (average_) average_->swap();
  }

  Task& task_;
  const uint64_t seed_;
  const Device device_;
  std::optional<WeightAverage> average_;
  int64_t estimated_step_ = -1;  // whose averaged weights have their batch statistics
};

}  // namespace sked
