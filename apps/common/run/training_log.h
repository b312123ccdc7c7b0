#pragma once
// What a training tells as it goes: lines of metrics.jsonl for programs and for TensorBoard, its progress for people.

#include <cstdint>
#include <optional>
#include <string>

#include "apps/common/config/progress.h"
#include "apps/common/run/initial.h"
#include "apps/common/run/metrics_views.h"
#include "apps/common/run/run_folder.h"
#include "apps/common/run/task.h"
#include "apps/common/run/training_steps.h"

namespace sked {

class TrainingLog {
 public:
  /// All of them are to live as long. Without `metrics`, on ranks other than 0, nothing is told.
  TrainingLog(const RunConfig& config, const Task& task, const RunFolder& folder, MetricsLog* metrics)
      : config_(config), task_(task), folder_(folder), metrics_(metrics) {}

  /// To be called first, with what the training begins with or goes on from. `label` starts every line of progress; a
  /// quiet one has none.
  void begin(const TrainerState& state, const TrainingSteps& steps, const std::string& label, bool quiet);

  /// A line of progress that stays.
  void note(const std::string& line) {
    if (progress_) progress_->note(line);
  }
  /// How far it is, where it is time to show that.
  void progress(const TrainerState& state, const TrainingSteps& steps);
  /// What became of the tensors of train.init; writes init.json too.
  void initial(const InitialReport& report);
  /// The steps since the last of these lines. Their sums in `state` start again.
  void training(TrainerState& state, const TrainingSteps& steps, const StepDone& last);
  /// An evaluation on the images of `split` that took so long.
  void evaluation(const TrainerState& state, const std::string& split, const Evaluation& result,
                  const std::vector<FewShotMeasures>& few_shot, double seconds);
  /// The final test, on the images of `split`; the correlation of the logits (K,K), or undefined, is a picture.
  void test(const TrainerState& state, const std::string& split, const Evaluation& result,
            const std::vector<FewShotMeasures>& few_shot, const Tensor& correlation, double seconds);
  /// Has this run somewhere to draw in?
  bool takes_pictures() const { return events_ && events_->takes_pictures(); }

  /// Leaves out of the rate that progress shows what was no training since the last step.
  void skip_time() {
    if (progress_) progress_->skip_time();
  }
  /// Flushes metrics.jsonl to the disk and returns its length in bytes.
  int64_t sync() { return metrics_ ? metrics_->sync() : 0; }

 private:
  void write(const Json& line);

  const RunConfig& config_;
  const Task& task_;
  const RunFolder& folder_;
  MetricsLog* metrics_;
  std::optional<EventLog> events_;
  Timetable timetable_;
  std::optional<Progress> progress_;
  // At the last line of training: of TrainerState, and of the loader.
  double train_seconds_ = 0, wait_seconds_ = 0;
  LoaderStatistics loader_;
};

}  // namespace sked
