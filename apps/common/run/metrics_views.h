#pragma once
// metrics.jsonl for other programs: as TensorBoard's event file, and as a table. Both follow from its lines, but for
// what the end of a run draws, so that a run that was stopped and goes on says each thing once. The lines are read one
// by one, however many there are; what is none of a run's, or has more than 16 MiB, is passed over.

#include <cstdint>
#include <string>

#include "apps/common/run/event_file.h"
#include "apps/common/run/run_folder.h"
#include "core/json.h"
#include "core/tensor.h"

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

  /// Can pictures be written? Not by a program without the image libraries.
  bool takes_pictures() const;
  /// A line that was added to metrics.jsonl: its numbers, and of `reliability` the diagram, as
  /// `validation/reliability`, that of the final test as `final/reliability`.
  void write(const Json& line);
  /// A picture u8 (H,W,3) that no line has, where pictures can be written. Who goes on with the run has to draw it
  /// again.
  void write(int64_t step, const std::string& tag, const Tensor& picture);

 private:
  void append(const std::string& records);

  std::string path_;
  int descriptor_ = -1;  // -1: not wanted
};

}  // namespace sked
