#pragma once
// metrics.jsonl for other programs: as TensorBoard's event file, and as a table. Both follow from its lines alone, so
// that a run that was stopped and goes on says each thing once.

#include <cstdint>
#include <string>

#include "apps/common/run/event_file.h"
#include "apps/common/run/run_folder.h"
#include "core/json.h"

namespace sked {

/// The numbers of a line, each behind its split: `train/loss`, `validation/nll`, `test/human/cross_entropy`,
/// `validation/few_shot/cifar-10/5`.
Scalars scalars_of(const Json& line);

/// Writes metrics.csv: a line for each of metrics.jsonl, and a column for each number that any of them has, in the
/// order they are met; what a line does not have is empty. Throws Error naming the file.
void write_metrics_table(const RunFolder& folder);

/// The event file of a run that begins or goes on.
class EventLog {
 public:
  /// Replaces those of the run's earlier starts by one that has what metrics.jsonl says. Where not `wanted` they are
  /// only removed. Throws Error naming the file.
  EventLog(const RunFolder& folder, bool wanted);
  ~EventLog();
  EventLog(const EventLog&) = delete;
  EventLog& operator=(const EventLog&) = delete;

  /// A line that was added to metrics.jsonl.
  void write(const Json& line);
  void write(int64_t step, const EventImage& image);

 private:
  void append(const std::string& records);

  std::string path_;
  int descriptor_ = -1;  // -1: not wanted
};

}  // namespace sked
