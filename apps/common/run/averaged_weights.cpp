#include "apps/common/run/averaged_weights.h"

#include <algorithm>

#include "apps/common/run/gradient_step.h"
#include "apps/common/run/parameter_groups.h"
#include "core/precision.h"

namespace sked {

AveragedWeights::AveragedWeights(const RunConfig& config, Task& task, Device device)
    : task_(task), seed_(config.seed), device_(device) {
  const double decay = config.train.ema_decay;
  if (decay > 0) average_.emplace(decay, trained_parameters(task.model()), task.model().buffers());
}

void AveragedWeights::estimate_statistics(int64_t step) {
  constexpr int64_t kBatches = 32;
  const auto buffers = task_.model().buffers();
  const bool any = std::ranges::any_of(buffers, [](const NamedBuffer& b) { return is_floating(b.second->dtype()); });
  if (!average_ || !any || estimated_step_ == step) return;
  estimated_step_ = step;
  Loader loader = task_.training_loader({});
  loader.start(0);
  const NoGrad no_tape;
  for (int64_t b = 0; b < std::min(kBatches, loader.batches()); ++b) {
    const std::optional<Batch> batch = loader.next();
    const BatchCut cut = cut_of(batch->part_rows, task_.ranks());
    if (cut.total == 0) continue;
    TensorList inputs = task_.inputs(*batch);
    for (Tensor& input : inputs) input = input.to(device_);
    task_.loss(inputs, {.training = true,
                        .seed = seed_,
                        .examples = batch->indices.to(device_),
                        .momentum = 1.0 / static_cast<double>(b + 1),
                        .activations = activation_dtype(device_),
                        .first_row = cut.parts.front().first_row,
                        .ranks = &task_.ranks()});
  }
}

}  // namespace sked
