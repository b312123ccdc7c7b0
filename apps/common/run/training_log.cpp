#include "apps/common/run/training_log.h"

#include <cstdio>

#include "apps/common/measure/heat_map.h"
#include "core/file.h"
#include "core/text.h"

namespace sked {
namespace {

constexpr int64_t kOftenRead = int64_t{1} << 25;  // bytes of metrics.jsonl that are a table again within seconds

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

/// How every line begins.
Json line_of(const TrainerState& state, const Timetable& timetable, const std::string& split) {
  return {{"step", state.step}, {"epoch", timetable.epoch(state.step)}, {"split", split}};
}

}  // namespace

void TrainingLog::begin(const TrainerState& state, const TrainingSteps& steps, const std::string& label, bool quiet) {
  if (!metrics_) return;
  timetable_ = steps.timetable();
  metrics_->cut(state.metrics_bytes);
  events_.emplace(folder_, config_.train.tensorboard);
  train_seconds_ = state.train_seconds;
  wait_seconds_ = state.wait_seconds;
  progress_.emplace(label, state.step, timetable_.total, steps.images_per_step(), quiet);
}

void TrainingLog::write(const Json& line) {
  metrics_->write(line);
  events_->write(line);
}

void TrainingLog::progress(const TrainerState& state, const TrainingSteps& steps) {
  if (progress_) progress_->update(state.step, steps.last_loss());
}

void TrainingLog::initial(const InitialReport& report) {
  if (!metrics_) return;
  const std::string& file = config_.train.init;
  write_file(folder_.init(), json_text({{"file", file},
                                        {"loaded", report.loaded},
                                        {"head_replaced", report.head_replaced},
                                        {"head_mapped", report.head_mapped},
                                        {"classifier", report.classifier},
                                        {"notes", report.notes},
                                        {"interpolated", report.interpolated},
                                        {"unused", report.unused},
                                        {"not_found", report.not_found}}));
  note("begins with " + std::to_string(report.loaded) + " tensors of " + file +
       (report.classifier.empty() ? "" : "; " + report.classifier));
  for (const std::string& line : report.notes) note("  " + line);
  const auto list = [&](const char* what, const std::vector<std::string>& names) {
    if (!names.empty()) note(what + std::to_string(names.size()) + ": " + join(names));
  };
  list("  resampled to the grid of this model, ", report.interpolated);
  list("  in the file and not used, ", report.unused);
  list("  not in the file, as initialized, ", report.not_found);
}

void TrainingLog::training(TrainerState& state, const TrainingSteps& steps, const StepDone& last) {
  if (!metrics_) {
    state.loss_sum = 0;
    state.loss_count = 0;
    return;
  }
  Json line = line_of(state, timetable_, "train");
  if (state.loss_count > 0) line["loss"] = state.loss_sum / static_cast<double>(state.loss_count);
  line["lr"] = last.learning_rate;
  if (config_.optimizer.clip_norm > 0) line["grad_norm"] = last.gradient_norm.defined() ? last.gradient_norm.item() : 0;
  if (task_.learns_temperature()) line["temperature"] = task_.temperature();
  // A resumed run knows the time of its own steps only.
  const double seconds = state.train_seconds - train_seconds_;
  line["images_per_second"] = static_cast<double>(state.loss_count) * steps.images_per_step() / seconds;
  line["seconds"] = state.train_seconds;
  line["loader"] = loader_json(steps.loader(), loader_, state.wait_seconds - wait_seconds_, seconds);
  write(line);
  state.loss_sum = 0;
  state.loss_count = 0;
  train_seconds_ = state.train_seconds;
  wait_seconds_ = state.wait_seconds;
  loader_ = steps.loader();
}

void TrainingLog::evaluation(const TrainerState& state, const std::string& split, const Evaluation& result,
                             const std::vector<FewShotMeasures>& few_shot, double seconds) {
  if (!metrics_) return;
  Json line = line_of(state, timetable_, split);
  line.update(evaluation_json(result, false));
  line["reliability"] = reliability_json(result.measures);
  if (!few_shot.empty()) line["few_shot"] = few_shot_json(few_shot);
  line["temperature"] = task_.temperature();
  line["seconds"] = seconds;
  write(line);
  const Measures& m = result.measures;
  char text[160];
  std::snprintf(text, sizeof text, "epoch %.4g  %s: nll %.4f  accuracy %.2f %%  ece %.4f  (%s)",
                timetable_.epoch(state.step), split.c_str(), m.nll, 100 * m.accuracy, m.ece, duration(seconds).c_str());
  note(text);
  for (const FewShotMeasures& m : few_shot) note("  " + few_shot_line(m));
  if (metrics_->bytes() <= kOftenRead) write_metrics_table(folder_);
  skip_time();
}

void TrainingLog::test(const TrainerState& state, const std::string& split, const Evaluation& result,
                       const std::vector<FewShotMeasures>& few_shot, const Tensor& correlation, double seconds) {
  if (!metrics_) return;
  Json line = line_of(state, timetable_, split);
  line["final"] = true;
  line.update(evaluation_json(result, false));
  line["reliability"] = reliability_json(result.measures);
  if (!few_shot.empty()) line["few_shot"] = few_shot_json(few_shot);
  line["seconds"] = seconds;
  write(line);
  if (correlation.defined()) events_->write(state.step, "final/correlation", heat_map_picture(correlation, 1));
  metrics_->sync();
  write_metrics_table(folder_);
}

}  // namespace sked
