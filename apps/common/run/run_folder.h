#pragma once
// The folder of one run: config.json, metrics.jsonl (and what follows from it: metrics.csv, an event file),
// summary.json, last.safetensors, best.safetensors; calibration.json where one was fitted.

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "core/json.h"

namespace sked {

/// Names of the files of a run.
struct RunFolder {
  std::filesystem::path path;

  std::string config() const { return (path / "config.json").string(); }
  std::string metrics() const { return (path / "metrics.jsonl").string(); }
  std::string metrics_table() const { return (path / "metrics.csv").string(); }
  std::string summary() const { return (path / "summary.json").string(); }
  std::string init() const { return (path / "init.json").string(); }
  std::string last() const { return (path / "last.safetensors").string(); }
  /// The checkpoint before the last, until the run is finished.
  std::string previous() const { return (path / "previous.safetensors").string(); }
  std::string best() const { return (path / "best.safetensors").string(); }
  std::string calibration() const { return (path / "calibration.json").string(); }
  /// All of them.
  std::vector<std::string> files() const;
  /// How the names of the run's event files begin, with a number between, and end: others' stay.
  static constexpr std::string_view kEvents = "events.out.tfevents.", kOwnEvents = ".skedastic";
  std::vector<std::string> event_files() const;
  std::string event_file(int64_t number) const;

  /// Creates the folder and its parents. Throws Error naming it and the system's reason.
  void create() const;
  /// Removes the checkpoints and the summary of an earlier run, and what was fitted to them.
  void clear_results() const;
  /// Removes what a finished run says of itself, and what was fitted to it: it goes on.
  void clear_summary() const;
  /// Removes what a killed process left of a file of the run it was writing; nobody else's files.
  void clear_temporaries() const;
  /// Makes last.safetensors, where it is there, `file` of this folder as well.
  void keep_last_as(const std::string& file) const;
};

/// Does another process write to this run now? Changes nothing; false where a file system has no locks.
bool has_another_process(const RunFolder& folder);

/// metrics.jsonl: one JSON object per line, appended. Whole lines only: what a failed write left is taken back. While
/// one lives, no other process writes to this run.
class MetricsLog {
 public:
  /// Creates the folder and the file where they are not there, and holds them against other processes; a file system
  /// without locks is said. Throws BusyError when another process has them, Error when they cannot be written, or where
  /// the file is a symbolic link.
  explicit MetricsLog(const RunFolder& folder);
  /// Removes a file and a folder that it created, where cut() was not called: no run began.
  ~MetricsLog();
  MetricsLog(const MetricsLog&) = delete;
  MetricsLog& operator=(const MetricsLog&) = delete;

  int64_t bytes() const { return bytes_; }
  /// Forgets everything behind the first `bytes`: lines written after the checkpoint a run resumes from. Where the file
  /// is shorter, or ends in the middle of a line there, its whole lines are kept and a note says that some are missing.
  void cut(int64_t bytes);
  void write(const Json& record);
  /// Flushes to the disk and returns the length in bytes.
  int64_t sync();

 private:
  /// Opens and locks the file that has its name now.
  void hold();
  int64_t whole_lines(int64_t bytes) const;
  [[noreturn]] void fail_with(const char* what) const;

  std::string folder_, path_;
  bool created_ = false, created_folder_ = false, begun_ = false;
  int descriptor_ = -1;
  int64_t bytes_ = 0;
};

}  // namespace sked
