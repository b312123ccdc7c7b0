#pragma once
// The folder of one run: config.json, metrics.jsonl, summary.json, last.safetensors, best.safetensors.

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>

namespace sked {

/// Names of the files of a run.
struct RunFolder {
  std::filesystem::path path;

  std::string config() const { return (path / "config.json").string(); }
  std::string metrics() const { return (path / "metrics.jsonl").string(); }
  std::string summary() const { return (path / "summary.json").string(); }
  std::string init() const { return (path / "init.json").string(); }
  std::string last() const { return (path / "last.safetensors").string(); }
  std::string best() const { return (path / "best.safetensors").string(); }

  /// Creates the folder and its parents. Throws Error naming it and the system's reason.
  void create() const;
  /// Removes the checkpoints and the summary of an earlier run.
  void clear_results() const;
  /// Removes what a killed process left of a file it was writing.
  void clear_temporaries() const;
};

/// metrics.jsonl: one JSON object per line, appended. Whole lines only: what a failed write left is taken back.
class MetricsLog {
 public:
  /// Opens or creates it, and holds it against other processes. Throws Error when it cannot be written or is held.
  explicit MetricsLog(const std::string& path);
  ~MetricsLog();
  MetricsLog(const MetricsLog&) = delete;
  MetricsLog& operator=(const MetricsLog&) = delete;

  /// Forgets everything behind the first `bytes`: lines written after the checkpoint a run resumes from. Throws Error
  /// when the file is shorter.
  void cut(int64_t bytes);
  void write(const nlohmann::ordered_json& record);
  /// Flushes to the disk and returns the length in bytes.
  int64_t sync();

 private:
  [[noreturn]] void fail_with(const char* what) const;

  std::string path_;
  int descriptor_;
  int64_t bytes_ = 0;
};

}  // namespace sked
