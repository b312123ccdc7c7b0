#include "apps/common/run/trainer.h"

#include <omp.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>

#include "apps/common/config/interrupt.h"
#include "apps/common/config/progress.h"
#include "apps/common/run/checkpoint.h"
#include "apps/common/run/follow_file.h"
#include "apps/common/run/gradient_step.h"
#include "apps/common/run/initial.h"
#include "apps/common/run/resume.h"
#include "apps/common/run/run_folder.h"
#include "apps/common/run/task.h"
#include "core/allocator.h"
#include "core/error.h"
#include "core/file.h"
#include "core/precision.h"
#include "core/text.h"

namespace sked {
namespace {

using Json = nlohmann::ordered_json;

class Stopwatch {
 public:
  double seconds() const { return std::chrono::duration<double>(Clock::now() - start_).count(); }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point start_ = Clock::now();
};

/// While one lives the model has the averaged weights, where an average is kept.
class Averaged {
 public:
  explicit Averaged(std::optional<WeightAverage>& average) : average_(average) {
    if (average_) average_->swap();
  }
  ~Averaged() {
    if (average_) average_->swap();
  }
  Averaged(const Averaged&) = delete;
  Averaged& operator=(const Averaged&) = delete;

 private:
  std::optional<WeightAverage>& average_;
};

/// A short last batch of an epoch is left out: batch statistics of few images are noise. Bytes cross to other devices.
LoaderOptions loader_options(const RunConfig& config, int64_t images, Device device,
                             std::function<void(const Skipped&)> on_skip) {
  return {.batch_size = std::min(config.train.batch_size, images),
          .seed = config.seed,
          .shuffle = true,
          .drop_last = true,
          .threads = static_cast<int>(config.train.loader_threads),
          .bytes = device != Device::cpu,
          .skip_limit = config.data.corrupt_limit(),
          .on_skip = std::move(on_skip)};
}

/// What the loader did since `before`: how fast one worker is, what of its time goes into reading and decoding, and
/// what of the training's time is spent waiting for it.
Json loader_json(const LoaderStatistics& now, const LoaderStatistics& before, double waited, double seconds) {
  const double busy = now.seconds - before.seconds;
  Json json{{"images_per_second", static_cast<double>(now.images - before.images) / busy},
            {"decode_share", (now.decode_seconds - before.decode_seconds) / busy},
            {"wait_share", waited / seconds}};
  if (now.skipped > 0) json["skipped"] = now.skipped;
  return json;
}

/// Without those a task has locked.
std::vector<NamedVar> trained_parameters(const Module& model) {
  std::vector<NamedVar> parameters = model.parameters();
  std::erase_if(parameters, [](const NamedVar& p) { return !p.var.requires_grad(); });
  return parameters;
}

int64_t at_least_one(double count) { return std::max<int64_t>(1, std::llround(count)); }

/// What training goes on from, or else the file of train.init; null where there is none.
struct Beginning {
  const Checkpoint* checkpoint = nullptr;
  const TensorFile* initial = nullptr;
};

class Trainer {
 public:
  Trainer(RunIdentity run, Splits splits, const RunFolder& folder, MetricsLog& log, const TrainOptions& options,
          const Beginning& from);
  /// Goes on from a checkpoint, or from nothing.
  void begin(const std::optional<Checkpoint>& checkpoint);
  Summary run();

 private:
  void train_step();
  void check_losses();
  void check_weights();
  [[noreturn]] void diverged(const std::string& what) const;
  void log_training(double lr, double norm);
  void evaluate_now();
  void estimate_statistics();
  void save(const std::function<void()>& write) const;
  void save_last();
  void report_initial();
  void restore_best();
  Summary finish();
  Summary describe() const;
  bool at_multiple_of(int64_t interval) const { return state_.step % interval == 0 || state_.step == total_; }
  double epoch() const { return static_cast<double>(state_.step) / static_cast<double>(epoch_steps_); }
  double batch_images() const {
    return static_cast<double>(std::min(config_.train.batch_size, task_->training_set()->size()));
  }
  Trained trained() { return {&task_->model(), &optimizer_, average_ ? &*average_ : nullptr}; }

  const RunIdentity run_;
  const RunConfig& config_ = run_.config;
  const RunFolder folder_;
  MetricsLog& log_;
  const TrainOptions options_;
  std::unique_ptr<Task> task_;
  Loader loader_;
  GradientStep gradients_;
  Optimizer optimizer_;
  std::optional<WeightAverage> average_;
  std::optional<InitialReport> initial_;
  Schedule schedule_;
  int64_t epoch_steps_, total_, evaluation_steps_, checkpoint_steps_;
  TrainerState state_;
  int64_t saved_step_ = 0, saved_evaluation_ = 0;  // of last.safetensors; of step 0 there is nothing to save
  std::optional<Progress> progress_;
  std::vector<std::pair<int64_t, Tensor>> losses_;  // of the last steps, not looked at yet
  double last_loss_ = 0;
  double logged_seconds_ = 0;  // state_.train_seconds at the last line of metrics.jsonl
  double logged_wait_ = 0;     // state_.wait_seconds likewise
  LoaderStatistics logged_loader_;
  int64_t estimated_step_ = -1;  // whose averaged weights have their batch statistics
};

Trainer::Trainer(RunIdentity run, Splits splits, const RunFolder& folder, MetricsLog& log, const TrainOptions& options,
                 const Beginning& from)
    : run_(std::move(run)),
      folder_(folder),
      log_(log),
      options_(options),
      task_(make_task(config_, std::move(splits), options.device, from.checkpoint)),
      loader_(task_->training_set(), Pipeline::parse(task_->training_pipeline()),
              loader_options(config_, task_->training_set()->size(), options.device,
                             [this](const Skipped& s) { progress_->note("left out: " + s.message); })),
      gradients_([this](const TensorList& inputs, const Context& context) { return task_->loss(inputs, context); },
                 trained_parameters(task_->model()), options.device, options.graph,
                 [this](const std::string& line) { progress_->note(line); }),
      optimizer_(config_.optimizer, trained_parameters(task_->model())),
      epoch_steps_(loader_.batches()) {
  const TrainConfig& t = config_.train;
  const auto epoch_steps = static_cast<double>(epoch_steps_);
  total_ = t.steps > 0 ? t.steps : t.epochs > 0 ? at_least_one(t.epochs * epoch_steps) : 0;
  evaluation_steps_ =
      t.eval_every > 0 ? at_least_one(t.eval_every * epoch_steps) : at_least_one(static_cast<double>(total_));
  checkpoint_steps_ = t.checkpoint_every > 0 ? t.checkpoint_every : epoch_steps_;
  const ScheduleConfig& s = config_.schedule;
  const int64_t warmup = s.warmup_steps > 0 ? s.warmup_steps : std::llround(s.warmup_epochs * epoch_steps);
  schedule_ = {
      .kind = s.kind, .peak = s.peak, .floor = s.floor, .warmup = warmup, .total = std::max<int64_t>(total_, 1)};
  schedule_.at(0);  // refuses an unknown kind before anything is written
  if (from.initial != nullptr) initial_ = task_->begin_with(*from.initial);
  if (t.ema_decay > 0) average_.emplace(t.ema_decay, trained_parameters(task_->model()), task_->model().buffers());
}

void Trainer::begin(const std::optional<Checkpoint>& checkpoint) {
  folder_.clear_temporaries();
  if (checkpoint) {
    restore(*checkpoint, trained());
    state_ = checkpoint->state;
    require(state_.step <= total_, "checkpoint", checkpoint->path, ": expected at most step ", total_, ", got ",
            state_.step);
    saved_step_ = state_.step;
    saved_evaluation_ = state_.evaluated_step;
    if (state_.best_step >= 0 && task_->holds_out() && !std::filesystem::exists(folder_.best())) {
      note(folder_.best() + " is not there any more: the best weights are chosen among later evaluations");
      state_.best_step = -1;
    }
  } else {
    folder_.clear_results();
  }
  state_.threads = omp_get_max_threads();
  state_.precision = name(product_precision());
  log_.cut(state_.metrics_bytes);
  write_file(folder_.config(), config_text(config_));
  logged_seconds_ = state_.train_seconds;
  logged_wait_ = state_.wait_seconds;
  const std::string label = options_.label.empty() ? folder_.path.filename().string() : options_.label;
  progress_.emplace(label, state_.step, total_, batch_images(), options_.quiet);
  if (checkpoint) progress_->note("goes on from step " + std::to_string(state_.step));
  if (initial_) report_initial();
}

void Trainer::report_initial() {
  const InitialReport& r = *initial_;
  write_file(folder_.init(), json_text({{"file", config_.train.init},
                                        {"loaded", r.loaded},
                                        {"head_replaced", r.head_replaced},
                                        {"head_mapped", r.head_mapped},
                                        {"classifier", r.classifier},
                                        {"interpolated", r.interpolated},
                                        {"unused", r.unused},
                                        {"not_found", r.not_found}}));
  progress_->note("begins with " + std::to_string(r.loaded) + " tensors of " + config_.train.init +
                  (r.classifier.empty() ? "" : "; " + r.classifier));
  const auto list = [&](const char* what, const std::vector<std::string>& names) {
    if (!names.empty()) progress_->note(what + std::to_string(names.size()) + ": " + join(names));
  };
  list("  resampled to the grid of this model, ", r.interpolated);
  list("  in the file and not used, ", r.unused);
  list("  not in the file, as initialized, ", r.not_found);
}

Summary Trainer::run() {
  task_->prepare();
  allocator(options_.device).reset_peak();
  loader_.start(state_.step / epoch_steps_, state_.step % epoch_steps_);
  for (;;) {
    try {
      if (state_.step > state_.evaluated_step && at_multiple_of(evaluation_steps_)) evaluate_now(), got_further();
      if (interrupted()) throw Interrupted();
    } catch (const Interrupted&) {
      save_last();
      progress_->note("stopped at step " + std::to_string(state_.step) + "; the same command goes on from there");
      throw;
    }
    const bool changed = state_.step > saved_step_ || state_.evaluated_step > saved_evaluation_ || total_ == 0;
    if (changed && at_multiple_of(checkpoint_steps_)) save_last();
    if (state_.step == total_) return finish();
    train_step();
    got_further();
  }
}

void Trainer::train_step() {
  const Stopwatch watch;
  const double waited = loader_.seconds_waited();
  std::optional<Batch> batch = loader_.next();
  if (!batch) {
    loader_.start(state_.step / epoch_steps_);
    batch = loader_.next();
  }
  const Context context{
      .training = true, .seed = config_.seed, .step = static_cast<uint64_t>(state_.step), .examples = batch->indices};
  const double lr = schedule_.at(state_.step);
  const bool log = (state_.step + 1) % config_.train.log_every == 0 || state_.step + 1 == total_;
  Tensor norm;
  if (batch->images.dim(0) > 0) {  // a batch of which no image can be used changes nothing
    losses_.emplace_back(state_.step, gradients_.run(task_->inputs(*batch), context));
    // Looking at a loss waits for the device: free on the CPU, elsewhere done when a line or a checkpoint is due.
    if (options_.device == Device::cpu) check_losses();
    norm = optimizer_.step(lr);
    optimizer_.clear_grads();
    if (average_) average_->update();
  }
  ++state_.step;
  if (log) {
    check_losses();
    check_weights();
  }
  state_.train_seconds += watch.seconds();
  state_.wait_seconds += loader_.seconds_waited() - waited;
  progress_->update(state_.step, last_loss_);
  if (log) log_training(lr, norm.defined() ? norm.item() : 0);
}

void Trainer::check_losses() {
  for (const auto& [step, loss] : losses_) {
    last_loss_ = loss.item();
    if (!std::isfinite(last_loss_))
      diverged("the loss of step " + std::to_string(step) + " is " + std::to_string(last_loss_));
    state_.loss_sum += last_loss_;
  }
  state_.loss_count += static_cast<int64_t>(losses_.size());
  losses_.clear();
}

/// Some networks make finite losses of weights that are not: what rectifies NaN gives 0.
void Trainer::check_weights() {
  for (const NamedVar& p : task_->model().parameters()) {
    if (!all_finite(p.var.value().to(Device::cpu)))
      diverged("after step " + std::to_string(state_.step) + " " + p.name + " has values that are not finite");
  }
}

void Trainer::diverged(const std::string& what) const {
  const auto there = [](const std::string& file) { return std::filesystem::exists(file); };
  const std::string checkpoint = "the last checkpoint is untouched: " + folder_.last() + " of step " +
                                 std::to_string(saved_step_) +
                                 (there(folder_.previous()) ? ", before it " + folder_.previous() : "");
  fail("train", what, ": a lower schedule.peak, more schedule.warmup_epochs or optimizer.clip_norm may help; ",
       there(folder_.last()) ? checkpoint : "no checkpoint was written yet");
}

void Trainer::log_training(double lr, double norm) {
  Json record{{"step", state_.step}, {"epoch", epoch()}, {"split", "train"}};
  if (state_.loss_count > 0) record["loss"] = state_.loss_sum / static_cast<double>(state_.loss_count);
  record["lr"] = lr;
  if (config_.optimizer.clip_norm > 0) record["grad_norm"] = norm;
  if (task_->learns_temperature()) record["temperature"] = task_->temperature();
  // A resumed run knows the time of its own steps only.
  const double seconds = state_.train_seconds - logged_seconds_;
  record["images_per_second"] = static_cast<double>(state_.loss_count) * batch_images() / seconds;
  record["seconds"] = state_.train_seconds;
  record["loader"] = loader_json(loader_.statistics(), logged_loader_, state_.wait_seconds - logged_wait_, seconds);
  log_.write(record);
  state_.loss_sum = 0;
  state_.loss_count = 0;
  logged_seconds_ = state_.train_seconds;
  logged_wait_ = state_.wait_seconds;
  logged_loader_ = loader_.statistics();
}

/// Averaged weights have no batch statistics of their own, and those of the last weights are not theirs: here they get
/// the mean over the first batches of an epoch, in training mode ("precise batch norm": Wu & Johnson, arXiv
/// 2105.07576). While they are swapped in.
void Trainer::estimate_statistics() {
  constexpr int64_t kBatches = 32;
  const auto buffers = task_->model().buffers();
  const bool any = std::ranges::any_of(buffers, [](const NamedBuffer& b) { return is_floating(b.second->dtype()); });
  if (!average_ || !any || estimated_step_ == state_.step) return;
  estimated_step_ = state_.step;
  Loader loader(task_->training_set(), Pipeline::parse(task_->training_pipeline()),
                loader_options(config_, task_->training_set()->size(), options_.device, {}));
  loader.start(0);
  const NoGrad no_tape;
  for (int64_t b = 0; b < std::min(kBatches, epoch_steps_); ++b) {
    const std::optional<Batch> batch = loader.next();
    if (batch->images.dim(0) == 0) continue;
    TensorList inputs = task_->inputs(*batch);
    for (Tensor& input : inputs) input = input.to(options_.device);
    task_->loss(inputs, {.training = true,
                         .seed = config_.seed,
                         .examples = batch->indices.to(options_.device),
                         .momentum = 1.0 / static_cast<double>(b + 1)});
  }
}

void Trainer::evaluate_now() {
  const Stopwatch watch;
  check_losses();
  const Averaged averaged(average_);
  estimate_statistics();
  const char* split = task_->holds_out() ? "validation" : "test";
  const Evaluation result = task_->evaluate(EvaluationPoint::periodic);
  const double nll = result.measures.nll;
  state_.evaluated_step = state_.step;
  if (!std::isfinite(nll))
    diverged("the " + std::string(split) + " nll of step " + std::to_string(state_.step) + " is " +
             std::to_string(nll));
  if (state_.best_step < 0 || nll < state_.best_nll) {
    state_.best_step = state_.step;
    state_.best_nll = nll;
    save([&] { save_weights(folder_.best(), task_->model(), run_, state_); });
  }
  Json record{{"step", state_.step}, {"epoch", epoch()}, {"split", split}};
  record.update(evaluation_json(result, false));
  record["temperature"] = task_->temperature();
  record["seconds"] = watch.seconds();
  log_.write(record);
  char line[160];
  std::snprintf(line, sizeof line, "epoch %.4g  %s: nll %.4f  accuracy %.2f %%  ece %.4f  (%s)", epoch(), split, nll,
                100 * result.measures.accuracy, result.measures.ece, duration(watch.seconds()).c_str());
  progress_->note(line);
  progress_->skip_time();
}

void Trainer::save(const std::function<void()>& write) const {
  try {
    write();
  } catch (const DivergedError& error) {
    diverged(error.what());
  }
}

void Trainer::save_last() {
  check_losses();
  state_.peak_memory_bytes = std::max<uint64_t>(state_.peak_memory_bytes, allocator(options_.device).stats().peak);
  state_.metrics_bytes = log_.sync();  // before the checkpoint that counts on these lines
  {
    const Averaged averaged(average_);
    estimate_statistics();
  }
  const auto keep_previous = [&] {
    if (state_.step > saved_step_) folder_.keep_previous();
  };
  save([&] { save_checkpoint(folder_.last(), trained(), run_, state_, keep_previous); });
  saved_step_ = state_.step;
  saved_evaluation_ = state_.evaluated_step;
  progress_->skip_time();
}

Summary Trainer::describe() const {
  Summary s;
  task_->describe(s);
  s.dataset = config_.data.name;
  s.backbone = config_.model.name;
  s.seed = config_.seed;
  s.training_images = run_.data.train.count;
  s.training_data = run_.data.train.fingerprint;
  s.params_total = task_->model().parameter_count();
  s.steps = state_.step;
  s.epochs = epoch();
  s.best_step = state_.best_step;
  s.best_nll = state_.best_nll;
  s.train_seconds = state_.train_seconds;
  s.wait_seconds = state_.wait_seconds;
  if (state_.step > 0) s.images_per_second = static_cast<double>(state_.step) * batch_images() / state_.train_seconds;
  s.peak_memory_bytes = state_.peak_memory_bytes;
  s.device = name(options_.device);
  s.precision = name(product_precision());
  s.command = options_.command;
  return s;
}

void Trainer::restore_best() {
  const std::string path = folder_.best();
  require(std::filesystem::exists(path), "train", path, " is not there any more: --fresh starts over");
  const TensorFile file = load_safetensors(path);
  const std::vector<std::string> keys = differing_keys(config_of(file, path), config_);
  require(keys.empty() && identity_of(file, path) == run_.data, "train", path,
          " is not of this run: ", keys.empty() ? "its data differs" : join(keys) + " differs",
          " (--fresh starts over)");
  restore_weights(file, path, task_->model());
}

Summary Trainer::finish() {
  const Stopwatch watch;
  const bool use_best = task_->holds_out();
  if (use_best && state_.best_step < 0) evaluate_now();  // without a step there was no reason to
  const Averaged averaged(average_);
  use_best ? restore_best() : estimate_statistics();
  Summary summary = describe();
  summary.weights = use_best ? "best" : "last";
  summary.temperature = task_->temperature();
  try {
    summary.test = task_->evaluate(EvaluationPoint::final);
  } catch (const Interrupted&) {
    progress_->note("stopped in the final test; the same command goes on with it");
    throw;
  }
  summary.test_seconds = watch.seconds();
  Json record{{"step", state_.step}, {"epoch", epoch()}, {"split", "test"}, {"final", true}};
  record.update(evaluation_json(summary.test, false));
  record["seconds"] = summary.test_seconds;
  log_.write(record);
  log_.sync();
  std::filesystem::remove(folder_.previous());  // before the run counts as finished, and nothing is done any more
  write_file(folder_.summary(), summary_text(summary));
  return summary;
}

}  // namespace

Summary train(const RunConfig& given, const std::filesystem::path& out, const TrainOptions& options) {
  validate(given);
  limit_time(given.train.time_limit);
  const RunFolder folder{out};
  check_own(folder);
  // What is finished needs no lock: its folder may be read-only. All else is read when no other process writes to it.
  std::optional<MetricsLog> held;
  if (options.fresh || !std::filesystem::exists(folder.summary())) held.emplace(folder);
  Found found = find_run(folder, given, options.fresh);
  if (found.done) return finished(folder, found.config, found.checkpoint ? &*found.checkpoint : nullptr);
  require(held.has_value(), "train", folder.path.string(), ": another process is starting this run over");
  const RunConfig& config = found.config;
  std::optional<Checkpoint>& checkpoint = found.checkpoint;
  Splits splits = load_data(config);
  std::optional<TensorFile> initial;
  if (!checkpoint && !config.train.init.empty()) {
    initial = load_safetensors(checkpoint_path(config.train.init));
    const Shape shape = Pipeline::parse(config.data.train_pipeline).output_shape(splits.train->image_shape());
    for (const std::string& line :
         follow_file(found.config.model, *initial, config.train.init, shape, config.train.init_partial))
      note("as " + config.train.init + " has it: " + line);
  }
  RunIdentity run = identify(config, splits);
  if (checkpoint) check_same_training(*checkpoint, run);
  Trainer trainer(std::move(run), std::move(splits), folder, *held, options,
                  {checkpoint ? &*checkpoint : nullptr, initial ? &*initial : nullptr});
  initial.reset();
  trainer.begin(checkpoint);
  checkpoint.reset();  // its tensors are copied
  return trainer.run();
}

}  // namespace sked
