#pragma once
// The gradients of one batch: computed call by call, or replayed where the device can record a step (a CUDA graph). The
// numbers are the same. Computed in parts, a batch needs the memory of one of them: gradient accumulation.

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "autograd/gradient_sums.h"
#include "core/recording.h"
#include "layers/module.h"

namespace sked {

/// How a batch is cut: into parts that are computed one after the other, each divided among the ranks.
struct BatchCut {
  /// This rank's rows of a part.
  struct Part {
    int64_t rows = 0;
    int64_t first_row = 0;  // where they lie in the batch
    bool operator==(const Part&) const = default;
  };
  std::vector<Part> parts = {};
  int64_t total = 0;  // rows of the batch, of all ranks
  bool operator==(const BatchCut&) const = default;
};

/// Of the rows that each part has on this rank (Batch::part_rows); all ranks call it. Throws Error, on all of them,
/// where one has no row of a part of which others have some.
BatchCut cut_of(const std::vector<int64_t>& part_rows, Communicator& ranks);

/// The first batch of a shape is computed plainly, which lets libraries set themselves up; the second is recorded; it
/// and those after it are replayed. Batches of another shape, and all of them where recording fails, are computed
/// plainly; so are those that a Trace looks at.
class GradientStep {
 public:
  /// Mean loss, shape (), of a batch's tensors on the device; all that may change from one call to the next are the
  /// elements of `inputs` and of context.examples, and context.step.
  using Loss = std::function<Var(const TensorList& inputs, const Context& context)>;
  using Note = std::function<void(const std::string&)>;

  /// Without `record` every batch is computed plainly, as where the device cannot record, or there are several ranks.
  /// `note` is told once why a recording failed. A recording holds all parts.
  GradientStep(Loss loss, std::vector<NamedVar> parameters, Device device, bool record, Note note,
               Communicator& ranks = alone());
  GradientStep(const GradientStep&) = delete;
  GradientStep& operator=(const GradientStep&) = delete;

  /// The loss of a batch, shape (), on the device; leaves its gradient, and nothing of the batch before, in grad() of
  /// every parameter, until the next call. `inputs` and context.examples, this rank's rows, may lie on the CPU.
  /// Gradients and loss are the mean over the rows of all parts and ranks, as those of the whole batch are where its
  /// rows do not see each other (batch norm does look at all rows of a part). All ranks call it.
  Tensor run(const TensorList& inputs, const Context& context, const BatchCut& cut);
  /// Of a batch in one part.
  Tensor run(const TensorList& inputs, const Context& context);

  /// What summing over ranks took.
  const GradientSums& sums() const { return sums_; }

 private:
  using Layout = std::vector<std::pair<Shape, DType>>;

  Tensor compute(const TensorList& inputs, const Context& context, const BatchCut& cut);
  bool record(const TensorList& inputs, const Context& context);
  Tensor replay(const TensorList& inputs, const Context& context);
  void clear_grads();

  Loss loss_of_;
  std::vector<NamedVar> parameters_;
  Device device_;
  bool records_;
  Note note_;
  Communicator& ranks_;
  GradientSums sums_;
  Layout layout_;  // of the recording, before there is one of the last batch
  BatchCut cut_;
  TensorList inputs_;  // where the recording finds its batch
  Context context_;
  Tensor loss_;  // where it leaves its results
  TensorList grads_;
  std::unique_ptr<Recording> recording_;
};

}  // namespace sked
