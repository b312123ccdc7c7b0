// An epoch of training on vectors, as build/train runs it: data set, loader, steps, optimizer.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <ctime>
#include <memory>

#include "apps/bench/bench.h"
#include "apps/common/run/make_task.h"
#include "apps/common/run/parameter_groups.h"
#include "apps/common/run/training_steps.h"
#include "core/error.h"
#include "core/kernels/random.h"
#include "core/stopwatch.h"

namespace sked::bench {
namespace {

constexpr int64_t kWidth = 256, kClasses = 10, kBatch = 512;

/// N vectors of N(0,1) in memory; the label is the greatest of the first ten coordinates.
class MadeVectors final : public Dataset {
 public:
  explicit MadeVectors(int64_t size)
      : Dataset("made vectors", std::vector<std::string>(kClasses, "class")), x_(Tensor::empty({size, 1, kWidth})) {
    Tensor examples = Tensor::empty({size}, DType::i64);
    for (int64_t i = 0; i < size; ++i) examples.data<int64_t>()[i] = i;
    kernel::gaussian_noise(examples, x_, RngAddress{3, 0, 0}, 0);
  }

  int64_t size() const override { return x_.dim(0); }
  Shape image_shape() const override { return {kWidth}; }
  Tensor image(int64_t i) const override { return x_.rows(i, i + 1).reshape({kWidth}); }
  int64_t label(int64_t i) const override { return std::max_element(row(i), row(i) + kClasses) - row(i); }
  void read_features(int64_t i, float* out) const override { std::copy_n(row(i), kWidth, out); }

 private:
  const float* row(int64_t i) const {
    check_index(i);
    return x_.data<float>() + i * kWidth;
  }
  Tensor x_;
};

RunConfig run_config(HeadKind head, const Settings& settings) {
  RunConfig config;
  config.model.name = "none";
  config.head.kind = head;
  config.head.train_samples = settings.samples;
  config.train.batch_size = kBatch;
  config.train.epochs = settings.rounds + 1;
  return config;
}

double cpu_seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

/// A training under way.
class Epochs {
 public:
  Epochs(const RunConfig& config, const std::shared_ptr<const Dataset>& data)
      : config_(config),
        task_(make_task(config_, {.train = data, .validation = nullptr, .test = data}, Device::cpu)),
        steps_(config_, *task_, Device::cpu, false, [](const std::string& line) { std::puts(line.c_str()); }) {
    steps_.start(0);
  }

  int64_t steps() const { return steps_.timetable().epoch_steps; }
  const TrainerState& state() const { return state_; }
  void run() {
    for (int64_t i = 0; i < steps(); ++i) steps_.step(state_);
    steps_.check_losses(state_);
  }

  /// Seconds of an epoch's forward and backward passes alone, and of its optimizer's steps.
  std::pair<double, double> parts() {
    Loader loader = task_->training_loader({});
    loader.start(0);
    const Batch batch = *loader.next();
    const std::vector<NamedVar> parameters = trained_parameters(task_->model());
    GradientStep gradients([this](const TensorList& in, const Context& context) { return task_->loss(in, context); },
                           parameters, Device::cpu, false, {});
    Optimizer optimizer(config_.optimizer, parameters);
    const Context context{.training = true, .seed = config_.seed, .examples = batch.indices};
    double seconds[2] = {};
    for (int64_t i = 0; i < steps(); ++i) {
      const Stopwatch first;
      gradients.run(task_->inputs(batch), context);
      seconds[0] += first.seconds();
      const Stopwatch second;
      optimizer.step(0);
      seconds[1] += second.seconds();
    }
    return {seconds[0], seconds[1]};
  }

 private:
  const RunConfig config_;
  std::unique_ptr<Task> task_;
  TrainingSteps steps_;
  TrainerState state_;
};

/// Relative difference between the sums of losses of an epoch of two steps with the tuned kernels and with the
/// definitions.
double check(const RunConfig& config) {
  const auto data = std::make_shared<MadeVectors>(2 * kBatch);
  Epochs tuned(config, data), definition(config, data);
  tuned.run();
  const ReferenceOnly scope;
  definition.run();
  return std::abs(tuned.state().loss_sum / definition.state().loss_sum - 1);
}

void run(HeadKind head, const Settings& settings, const Report& report) {
  const RunConfig config = run_config(head, settings);
  const auto data = std::make_shared<MadeVectors>(settings.shrunk(50000, kBatch));
  Row row{.name = "epoch of vectors " + name_of(head) + " B512 D256 K10"};
  if (head == HeadKind::het_xl) row.name += " S" + std::to_string(settings.samples);
  if (!settings.wants(row.name)) return;
  row.check(check(config), 1e-4);
  Epochs epochs(config, data);
  row.images = static_cast<double>(epochs.steps() * kBatch);
  epochs.run();
  const double waited = epochs.state().wait_seconds, cpu = cpu_seconds();
  row.seconds = median_seconds([&] { epochs.run(); }, settings.rounds, 0);
  const double rounds = settings.rounds;
  const double wait = (epochs.state().wait_seconds - waited) / rounds, used = (cpu_seconds() - cpu) / rounds;
  const auto [gradients, optimizer] = epochs.parts();
  std::printf(
      "%s: %lld steps, %.3f s of processor time; waiting for data %.1f ms, forward and backward %.1f ms, optimizer "
      "%.1f ms\n",
      row.name.c_str(), static_cast<long long>(epochs.steps()), used, 1e3 * wait, 1e3 * gradients, 1e3 * optimizer);
  report(row, true);
}

}  // namespace

void embedding_rows(const Settings& settings, const Report& report) {
  for (const HeadKind head : {HeadKind::det, HeadKind::het, HeadKind::het_xl}) run(head, settings, report);
}

}  // namespace sked::bench
