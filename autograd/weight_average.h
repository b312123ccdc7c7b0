#pragma once
// Averages of weights over training.

#include <string>
#include <utility>
#include <vector>

#include "autograd/var.h"

namespace sked {

/// Exponential moving average of weights, average ← decay·average + (1 − decay)·weight, kept beside the parameters that
/// require a gradient when it is made. It starts at the weights; read in their place it keeps its rounded copies as
/// they do. Beside the averages lie buffers of their own: the batch statistics of the last weights are not those of the
/// average, and neither is their average; who swaps estimates them.
class WeightAverage {
 public:
  WeightAverage(double decay, const std::vector<NamedVar>& parameters, const std::vector<NamedBuffer>& buffers = {});
  void update();
  /// For a step that writes along what update() would write behind it (Optimizer::step): the averages of `parameters`,
  /// in their order. Throws Error unless these are the parameters averaged.
  TensorList averages_of(const std::vector<NamedVar>& parameters);
  double decay() const { return decay_; }
  /// Exchanges averages and parameters, and both sides' buffers (before and after an evaluation).
  void swap();
  /// `average.<parameter or buffer>`, for checkpoints. load_state throws where names, shapes or dtypes differ.
  std::vector<SharedTensor> state() const;
  void load_state(const std::vector<SharedTensor>& tensors);

 private:
  double decay_;
  std::vector<NamedVar> parameters_;
  std::vector<NamedBuffer> buffers_;
  TensorList averages_, kept_;  // of the parameters and of the buffers, in their order
};

}  // namespace sked
