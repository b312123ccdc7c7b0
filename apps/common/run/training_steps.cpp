#include "apps/common/run/training_steps.h"

#include <algorithm>
#include <cmath>

#include "apps/common/run/parameter_groups.h"
#include "apps/common/run/trace.h"
#include "core/kernels/optimizer.h"
#include "core/precision.h"
#include "core/stopwatch.h"

namespace sked {

TrainingSteps::TrainingSteps(const RunConfig& config, Task& task, Device device, bool graph, const Note& note)
    : config_(config),
      task_(task),
      device_(device),
      loader_(
          task.training_loader([note](const Skipped& s) { note("left out: " + s.message); }, config.train.accumulate)),
      skipped_(config.data.corrupt_limit(), [note](const Skipped& s) { note("left out: " + s.message); }),
      timetable_(sked::timetable(config.train, loader_.batches())),
      schedule_(schedule(config.schedule, timetable_)),
      gradients_([&task](const TensorList& inputs, const Context& context) { return task.loss(inputs, context); },
                 trained_parameters(task.model()), device, graph, note, task.ranks()),
      optimizer_(config.optimizer, trained_parameters(task.model()),
                 lr_scales(task.model(), task.tower(), config.optimizer), task.ranks()),
      averaged_(config, task, device) {}

double TrainingSteps::images_per_step() const {
  return static_cast<double>(std::min(config_.train.batch_size, loader_.dataset().size()));
}

void TrainingSteps::start(int64_t step) {
  loader_.start(step / timetable_.epoch_steps, step % timetable_.epoch_steps);
  skipped_.start(step % timetable_.epoch_steps > 0);
}

Batch TrainingSteps::next_batch(int64_t step) {
  const WorkCount::Call call("wait for data", Device::cpu, [] { return WorkCount::Entry{.calls = 1}; });
  std::optional<Batch> batch = loader_.next();
  if (!batch) {
    loader_.start(step / timetable_.epoch_steps);
    skipped_.start(false);
    batch = loader_.next();
  }
  return std::move(*batch);
}

/// What of the batch is whose; what any rank leaves out is counted on all of them.
BatchCut TrainingSteps::agreed_cut(const Batch& batch, int64_t step) {
  Communicator& ranks = task_.ranks();
  const BatchCut cut = cut_of(batch.part_rows, ranks);
  if (ranks.size() == 1) return cut;  // the loader counts
  const bool all_there = cut.total == static_cast<int64_t>(images_per_step());
  const bool last = (step + 1) % timetable_.epoch_steps == 0;
  skipped_.add(cut.total, all_there ? std::vector<Skipped>{} : all_gather_skipped(ranks, batch.skipped), last);
  return cut;
}

StepDone TrainingSteps::step(TrainerState& state) {
  const Stopwatch watch;
  const double waited = loader_.seconds_waited();
  const Batch batch = next_batch(state.step);
  const BatchCut cut = agreed_cut(batch, state.step);
  const Context context{.training = true,
                        .seed = config_.seed,
                        .step = static_cast<uint64_t>(state.step),
                        .examples = batch.indices,
                        .activations = activation_dtype(device_)};
  StepDone done{.learning_rate = schedule_.at(state.step)};
  if (cut.total > 0) {  // a batch of which no image can be used changes nothing
    losses_.emplace_back(state.step, gradients_.run(task_.inputs(batch), context, cut));
    // Looking at a loss waits for the device: free on the CPU, elsewhere done when a line or a checkpoint is due.
    if (device_ == Device::cpu) check_losses(state);
    const Trace::Span span("optimizer");
    done.gradient_norm = optimizer_.step(done.learning_rate, averaged_.average());
    optimizer_.clear_grads();
  }
  ++state.step;
  if (line_due(state.step)) {
    check_losses(state);
    check_weights(state.step);
  }
  state.train_seconds += watch.seconds();
  state.wait_seconds += loader_.seconds_waited() - waited;
  return done;
}

void TrainingSteps::check_losses(TrainerState& state) {
  for (const auto& [step, loss] : losses_) {
    last_loss_ = loss.item();
    if (!std::isfinite(last_loss_))
      throw DivergedError("the loss of step " + std::to_string(step) + " is " + std::to_string(last_loss_));
    state.loss_sum += last_loss_;
  }
  state.loss_count += static_cast<int64_t>(losses_.size());
  losses_.clear();
}

/// Some networks make finite losses of weights that are not: what rectifies NaN gives 0. One number of all says whether
/// to look at each.
void TrainingSteps::check_weights(int64_t step) const {
  TensorList values;
  bool divided = false;
  for (const NamedVar& p : task_.model().parameters()) {
    values.push_back(p.var.value());
    divided = divided || p.shard.divided();
  }
  if (values.empty()) return;
  Tensor norm = Tensor::empty({1}, values[0].dtype(), values[0].device());
  kernel::global_norm(values, norm);
  int64_t suspect = std::isfinite(norm.item()) ? 0 : 1;  // or too large for their squares' sum
  if (divided) suspect = std::ranges::max(all_gather_number(task_.ranks(), suspect));
  if (suspect == 0) return;
  for (const NamedVar& p : task_.model().parameters()) {
    int64_t bad = all_finite(p.var.value().to(Device::cpu)) ? 0 : 1;
    if (p.shard.divided()) bad = std::ranges::max(all_gather_number(task_.ranks(), bad));
    if (bad != 0)
      throw DivergedError("after step " + std::to_string(step) + " " + p.name + " has values that are not finite");
  }
}

}  // namespace sked
