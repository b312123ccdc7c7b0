#pragma once
// The gradients of one batch: computed call by call, or replayed where the device can record a step (a CUDA graph). The
// numbers are the same. Computed in parts, a batch needs the memory of one of them: gradient accumulation.

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/recording.h"
#include "layers/module.h"

namespace sked {

/// The first batch of a shape is computed plainly, which lets libraries set themselves up; the second is recorded; it
/// and those after it are replayed. Batches of another shape, and all of them where recording fails, are computed
/// plainly.
class GradientStep {
 public:
  /// Mean loss, shape (), of a batch's tensors on the device; all that may change from one call to the next are the
  /// elements of `inputs` and of context.examples, and context.step.
  using Loss = std::function<Var(const TensorList& inputs, const Context& context)>;
  using Note = std::function<void(const std::string&)>;

  /// Without `record` every batch is computed plainly, as where the device cannot record. `note` is told once why a
  /// recording failed. The rows of a batch are cut into `parts` (at least 1) as equal as may be; gradients and loss are
  /// the mean over all rows, as those of the whole batch are where its rows do not see each other (batch norm does look
  /// at all rows of a part). A recording holds all parts.
  GradientStep(Loss loss, std::vector<NamedVar> parameters, Device device, bool record, Note note, int64_t parts = 1);
  GradientStep(const GradientStep&) = delete;
  GradientStep& operator=(const GradientStep&) = delete;

  /// The loss of a batch, shape (), on the device; leaves its gradient, and nothing of the batch before, in grad() of
  /// every parameter, until the next call. `inputs` and context.examples may lie on the CPU.
  Tensor run(const TensorList& inputs, const Context& context);

 private:
  using Layout = std::vector<std::pair<Shape, DType>>;

  Tensor compute(const TensorList& inputs, const Context& context) const;
  Tensor compute_in_parts(const TensorList& inputs, const Context& context) const;
  bool record(const TensorList& inputs, const Context& context);
  Tensor replay(const TensorList& inputs, const Context& context);
  void clear_grads();

  Loss loss_of_;
  std::vector<NamedVar> parameters_;
  Device device_;
  bool records_;
  Note note_;
  int64_t parts_;
  Layout layout_;      // of the recording, before there is one of the last batch
  TensorList inputs_;  // where the recording finds its batch
  Context context_;
  Tensor loss_;  // where it leaves its results
  TensorList grads_;
  std::unique_ptr<Recording> recording_;
};

}  // namespace sked
