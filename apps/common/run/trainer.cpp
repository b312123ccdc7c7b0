#include "apps/common/run/trainer.h"

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <sstream>

#include "apps/common/config/interrupt.h"
#include "apps/common/measure/few_shot.h"
#include "apps/common/run/follow_file.h"
#include "apps/common/run/make_task.h"
#include "apps/common/run/opening.h"
#include "apps/common/run/parameter_groups.h"
#include "apps/common/run/resume.h"
#include "apps/common/run/run_checkpoints.h"
#include "apps/common/run/trace.h"
#include "apps/common/run/training_log.h"
#include "apps/common/run/training_steps.h"
#include "core/allocator.h"
#include "core/build.h"
#include "core/error.h"
#include "core/file.h"
#include "core/precision.h"
#include "core/stopwatch.h"
#include "core/text.h"

namespace sked {
namespace {

/// What summary.json says but for the test.
Summary summarize(const RunIdentity& run, Task& task, const TrainOptions& options, const TrainingSteps& steps,
                  const TrainerState& state) {
  Summary s;
  task.describe(s);
  s.dataset = run.config.data.name;
  s.backbone = run.config.model.name;
  s.seed = run.config.seed;
  s.training_images = run.data.train.count;
  s.training_data = run.data.train.fingerprint;
  s.measured_data = (run.data.test.count > 0 ? run.data.test : run.data.validation).fingerprint;
  s.params_total = task.model().parameter_count();
  s.steps = state.step;
  s.epochs = steps.timetable().epoch(state.step);
  s.best_step = state.best_step;
  s.best_nll = state.best_nll;
  s.train_seconds = state.train_seconds;
  s.wait_seconds = state.wait_seconds;
  if (state.step > 0)
    s.images_per_second = static_cast<double>(state.step) * steps.images_per_step() / state.train_seconds;
  s.peak_memory_bytes = state.peak_memory_bytes;
  s.device = name(options.device);
  s.precision = name(product_precision());
  s.command = options.command;
  s.made_by = provenance();
  return s;
}

DataIdentity data_in(const std::string& text) {
  return *identity_of({.tensors = {}, .metadata = {{"data", text}}, .skipped = {}}, "a rank's data");
}

/// Throws Error, on all ranks, unless they run one program on one configuration, data and checkpoint.
void check_same_on_ranks(const RunIdentity& run, const Checkpoint* checkpoint, Communicator& ranks) {
  const std::vector<std::string> mine{std::string(kVersion) + ", " + compiler(), config_text(run.config),
                                      identity_text(run.data), identity_text(run.files),
                                      checkpoint ? "step " + std::to_string(checkpoint->state.step) : "none"};
  const std::vector<std::string> what{"the program", "the configuration", "the data", "files that it names",
                                      "the checkpoint they go on from"};
  for (size_t i = 0; i < mine.size(); ++i) {
    const std::vector<std::string> all = all_gather_text(ranks, mine[i]);
    for (size_t r = 1; r < all.size(); ++r) {
      if (all[r] == all[0]) continue;
      std::string how = all[0] + " and " + all[r];
      if (i == 1) how = join(differing_keys(parse_config(all[0], "rank 0"), parse_config(all[r], "rank")));
      if (how.empty()) continue;  // folders and threads may differ
      if (i == 2) how = data_difference(data_in(all[0]), data_in(all[r]));
      fail("train", "rank ", r, " differs from rank 0 in ", what[i], ": ", how);
    }
  }
}

/// The loop: evaluate, save, step, until the last step; then the test.
class Trainer {
 public:
  Trainer(RunIdentity run, Splits splits, const RunFolder& folder, MetricsLog* metrics, const TrainOptions& options,
          const Beginning& from, std::vector<FewShotData> few_shot);
  /// Goes on from a checkpoint, or from nothing.
  void begin(const std::optional<Checkpoint>& checkpoint);
  Summary run();

 private:
  void resume(const Checkpoint& checkpoint);
  std::string other_length(const Checkpoint& checkpoint) const;
  Summary loop();
  void step();
  void evaluate();
  std::vector<FewShotMeasures> few_shot();
  void save_last();
  Summary finish();
  bool writes() const { return ranks_.rank() == 0; }

  const RunIdentity run_;
  const RunConfig& config_ = run_.config;
  const RunFolder folder_;
  const TrainOptions options_;
  Communicator& ranks_;
  const std::unique_ptr<Task> task_;
  const std::optional<InitialReport> initial_;
  const std::vector<FewShotData> few_shot_;
  RunCheckpoints checkpoints_;
  TrainingLog log_;
  TrainingSteps steps_;
  const Timetable timetable_;
  TrainerState state_;
};

Trainer::Trainer(RunIdentity run, Splits splits, const RunFolder& folder, MetricsLog* metrics,
                 const TrainOptions& options, const Beginning& from, std::vector<FewShotData> few_shot)
    : run_(std::move(run)),
      folder_(folder),
      options_(options),
      ranks_(*options.ranks),
      task_(make_task(config_, std::move(splits), options.device, from, ranks_)),
      initial_(from.initial ? std::optional(task_->begin_with(*from.initial)) : std::nullopt),
      few_shot_(std::move(few_shot)),
      checkpoints_(folder_, run_, ranks_),
      log_(config_, *task_, folder_, metrics),
      steps_(config_, *task_, options.device, options.graph, [this](const std::string& line) { log_.note(line); }),
      timetable_(steps_.timetable()) {}

void Trainer::begin(const std::optional<Checkpoint>& checkpoint) {
  checkpoints_.check_kept();
  if (writes()) folder_.clear_temporaries();
  if (checkpoint) resume(*checkpoint);
  if (!checkpoint) checkpoints_.clear_kept();
  if (!checkpoint && writes()) folder_.clear_results();
  if (options_.opening && writes())
    for (const std::string& line : opening(config_, *task_, timetable_, options_.device, folder_)) inform(line);
  state_.threads = omp_get_max_threads();
  state_.precision = name(product_precision());
  log_.begin(state_, steps_, options_.label.empty() ? folder_.path.filename().string() : options_.label,
             options_.quiet);
  if (writes()) write_file(folder_.config(), config_text(config_));
  if (checkpoint) log_.note("goes on from step " + std::to_string(state_.step) + other_length(*checkpoint));
  if (initial_) log_.initial(*initial_);
  if (const std::string line = frozen_line(task_->model(), config_.train); !line.empty()) log_.note(line);
  task_->tell([this](const std::string& line) { log_.note(line); });
}

void Trainer::resume(const Checkpoint& checkpoint) {
  restore(checkpoint, steps_.trained());
  state_ = checkpoint.state;
  require_usage(state_.step <= timetable_.total, "train", checkpoint.path, " has done ", state_.step, " steps, ",
                timetable_.epoch(state_.step), " epochs: expected ",
                config_.train.steps > 0 ? "train.steps" : "train.epochs", " of at least that, got ",
                timetable_.epoch(timetable_.total), " epochs (--fresh starts over, another --out keeps both)");
  if (writes()) folder_.clear_summary();
  checkpoints_.resume(state_);
  if (state_.best_step >= 0 && task_->holds_out() && !agreed(ranks_, std::filesystem::exists(folder_.best()))) {
    note(folder_.best() + " is not there any more: the best weights are chosen among later evaluations");
    state_.best_step = -1;
  }
}

/// What a run is told that was to have another length.
std::string Trainer::other_length(const Checkpoint& checkpoint) const {
  const Timetable before = timetable(checkpoint.config.train, timetable_.epoch_steps);
  if (before.total == timetable_.total) return "";
  const double then = schedule(config_.schedule, before).at(state_.step);
  const double now = schedule(config_.schedule, timetable_).at(state_.step);
  std::ostringstream text;
  text << " to " << timetable_.total << ", which was to be " << before.total;
  if (now != then) text << ": the schedule has another end, and the learning rate is " << now << " here, not " << then;
  return text.str();
}

Summary Trainer::run() {
  try {
    task_->prepare();
    allocator(options_.device).reset_peak();
    steps_.start(state_.step);
    if (options_.trace) options_.trace->expect(timetable_.total - state_.step);
    return loop();
  } catch (const DivergedError& error) {
    checkpoints_.diverged(error.what(), state_.step);
  }
}

Summary Trainer::loop() {
  for (;;) {
    try {
      if (state_.step > state_.evaluated_step && timetable_.due(state_.step, timetable_.evaluation))
        traced(options_.trace, "evaluation", [this] { evaluate(); }), got_further();
      if (interrupted(ranks_)) throw Interrupted();
    } catch (const Interrupted&) {
      save_last();
      log_.note("stopped at step " + std::to_string(state_.step) + "; the same command goes on from there");
      throw;
    }
    const bool changed = checkpoints_.behind(state_) || timetable_.total == 0;
    if (changed && timetable_.due(state_.step, timetable_.checkpoint)) save_last();
    if (state_.step == timetable_.total) return finish();
    step();
    got_further();
  }
}

void Trainer::step() {
  StepDone done;
  traced(options_.trace, "step", [&] { done = steps_.step(state_); });
  log_.progress(state_, steps_);
  if (steps_.line_due(state_.step)) log_.training(state_, steps_, done);
}

/// Of the weights in place.
std::vector<FewShotMeasures> Trainer::few_shot() {
  std::vector<FewShotMeasures> all;
  for (const FewShotData& data : few_shot_)
    all.push_back(sked::few_shot(
        task_->tower(), data, config_.few_shot.shots, config_, options_.device,
        [this](const std::string& line) { log_.note(line); }, ranks_));
  return all;
}

void Trainer::evaluate() {
  // Results are never without a checkpoint: where that is missing they are what somebody kept of a run.
  if (!agreed(ranks_, std::filesystem::exists(folder_.last()))) save_last();
  const Stopwatch watch;
  steps_.check_losses(state_);
  const AveragedWeights::InPlace averaged(steps_.averaged());
  steps_.averaged().estimate_statistics(state_.step);
  const std::string split = task_->holds_out() ? "validation" : "test";
  const Evaluation result = task_->evaluate(EvaluationPoint::periodic);
  const int64_t every = config_.few_shot.every * timetable_.evaluation;
  const std::vector<FewShotMeasures> few =
      every > 0 && state_.step % every == 0 ? few_shot() : std::vector<FewShotMeasures>{};
  const double nll = result.measures.nll;
  state_.evaluated_step = state_.step;
  if (!std::isfinite(nll))
    throw DivergedError("the " + split + " nll of step " + std::to_string(state_.step) + " is " + std::to_string(nll));
  if (state_.best_step < 0 || nll < state_.best_nll) {
    state_.best_step = state_.step;
    state_.best_nll = nll;
    checkpoints_.save_best(task_->model(), state_);
  }
  log_.evaluation(state_, split, result, few, watch.seconds());
}

void Trainer::save_last() {
  steps_.check_losses(state_);
  const auto peak = static_cast<int64_t>(allocator(options_.device).stats().peak);
  state_.peak_memory_bytes =
      std::max(state_.peak_memory_bytes, static_cast<uint64_t>(std::ranges::max(all_gather_number(ranks_, peak))));
  state_.metrics_bytes = log_.sync();  // before the checkpoint that counts on these lines
  {
    const AveragedWeights::InPlace averaged(steps_.averaged());
    steps_.averaged().estimate_statistics(state_.step);
  }
  traced(options_.trace, "checkpoint", [this] { checkpoints_.save_last(steps_.trained(), state_); });
  log_.skip_time();
}

Summary Trainer::finish() {
  const Stopwatch watch;
  // Without test images those held out are measured, and nothing may have been chosen by them.
  const bool use_best = task_->holds_out() && task_->has_test();
  if (use_best && state_.best_step < 0) evaluate();  // without a step there was no reason to
  const AveragedWeights::InPlace averaged(steps_.averaged());
  use_best ? checkpoints_.restore_best(task_->model()) : steps_.averaged().estimate_statistics(state_.step);
  Summary summary = summarize(run_, *task_, options_, steps_, state_);
  summary.weights = use_best ? "best" : "last";
  summary.measured = task_->has_test() ? "test" : "validation";
  summary.temperature = task_->temperature();
  Tensor correlation;
  try {
    summary.test = task_->evaluate(EvaluationPoint::final);
    summary.few_shot = few_shot();
    summary.test_seconds = watch.seconds();
    if (agreed(ranks_, log_.takes_pictures())) correlation = task_->logit_correlation();
  } catch (const Interrupted&) {
    log_.note("stopped in the final test; the same command goes on with it");
    throw;
  }
  log_.test(state_, summary.measured, summary.test, summary.few_shot, correlation, summary.test_seconds);
  if (!writes()) return summary;
  std::filesystem::remove(folder_.previous());  // before the run counts as finished, and nothing is done any more
  write_file(folder_.summary(), summary_text(summary));
  return summary;
}

}  // namespace

namespace {

/// Throws UsageError where a rank would have nothing of a batch, or of a part of it.
void check_batch(const TrainConfig& config, int64_t images, int64_t ranks) {
  const int64_t batch = std::min(config.batch_size, images), least = batch / config.accumulate;
  require_usage(least >= ranks, "config", "train.batch_size: expected at least one image for each of ", ranks,
                " ranks, got ", batch,
                config.accumulate > 1 ? " in " + std::to_string(config.accumulate) + " parts" : "",
                " (it is the batch of all ranks together)");
}

/// A run's folder as all ranks find it, while rank 0 keeps other processes off it.
struct HeldRun {
  std::optional<MetricsLog> metrics;  // of rank 0, where there is something to do
  Found found;
};

void hold_run(HeldRun& run, const RunFolder& folder, const RunConfig& given, const TrainOptions& options) {
  const bool writes = options.ranks->rank() == 0;
  // What is finished needs no lock: its folder may be read-only. All else is read when no other process writes to it.
  const auto hold = [&] {
    if (writes) run.metrics.emplace(folder);
    options.ranks->barrier();
  };
  if (writes) check_own(folder);
  const bool begun = agreed(*options.ranks, options.fresh || !std::filesystem::exists(folder.summary()));
  if (begun) hold();
  run.found = find_run(folder, given, options.fresh);
  if (!run.found.done &&
      !begun) {  // a finished run that goes on, or one that another process has started over just now
    hold();
    run.found = find_run(folder, given, options.fresh);
  }
  options.ranks->barrier();  // nobody changes what another still looks at
}

}  // namespace

Summary train(const RunConfig& given, const std::filesystem::path& out, const TrainOptions& options) {
  validate(given);
  limit_time(given.train.time_limit);
  const RunFolder folder{out};
  HeldRun there;
  hold_run(there, folder, given, options);
  Found& found = there.found;
  if (found.done) return finished(folder, found.config, found.checkpoint ? &*found.checkpoint : nullptr);
  const RunConfig& config = found.config;
  std::optional<Checkpoint>& checkpoint = found.checkpoint;
  Splits splits = load_data(config);
  check_batch(config.train, splits.train->size(), options.ranks->size());
  std::vector<FewShotData> few_shot = few_shot_data(config, splits.test->image_shape());
  std::optional<TensorFile> initial;
  if (!checkpoint && !config.train.init.empty()) {
    initial = load_weights(checkpoint_path(config.train.init));
    const Shape shape = Pipeline::parse(config.data.train_pipeline).output_shape(splits.train->image_shape());
    const TensorFile network = is_two_towers(*initial, config.train.init) ? image_tower(*initial) : *initial;
    for (const std::string& line :
         follow_file(found.config.model, network, config.train.init, shape, config.train.init_partial))
      note("as " + config.train.init + " has it: " + line);
  }
  RunIdentity run = identify(config, splits);
  check_same_on_ranks(run, checkpoint ? &*checkpoint : nullptr, *options.ranks);
  if (checkpoint) check_same_training(*checkpoint, run);
  Trainer trainer(std::move(run), std::move(splits), folder, there.metrics ? &*there.metrics : nullptr, options,
                  {checkpoint ? &*checkpoint : nullptr, initial ? &*initial : nullptr}, std::move(few_shot));
  initial.reset();
  trainer.begin(checkpoint);
  checkpoint.reset();  // its tensors are copied
  return trainer.run();
}

}  // namespace sked
