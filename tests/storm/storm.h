#pragma once
// What storms need: the three programs that train, each with a small job of several checkpoints and evaluations, and
// what a job leaves, without what two runs of it may differ in.

#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "tests/apps/support.h"

namespace sked::test {

/// A number from the environment: how long a storm lasts, and its seed.
int64_t knob(const char* name, int64_t otherwise);

/// What a job left: of each file, by its path in the folder, the content without timings.
using Results = std::map<std::string, std::string>;

/// One command that trains: given again it goes on where it was.
struct Job {
  std::string program;
  std::vector<std::string> runs;  // run folders below its --out, in their order
  std::string config;             // file
  Results whole = {};             // of a run that nothing stopped
  double seconds = 0;             // which that took

  std::vector<std::string> command(const std::string& out) const;
};

/// Data and configurations in a folder, and a job of train, contrast (where there is SentencePiece) and replicate,
/// each run once without being stopped.
class Jobs {
 public:
  /// `epochs` of each run.
  explicit Jobs(double epochs);
  const std::vector<Job>& all() const { return jobs_; }
  std::string folder(const std::string& name) const { return folder_.path(name); }

 private:
  void add(Job job);

  TemporaryFolder folder_;
  std::vector<Job> jobs_;
};

/// Threads do not spin, and gnuplot is not found: reports are written without plots.
std::vector<std::pair<std::string, std::string>> calm();

Results results_of(const std::string& out);
/// What differs, in words; empty where nothing does.
std::string difference_of(const Results& whole, const Results& got);

/// Of checkpoints: each run's last step, in the order of Job::runs; -1 where there is no last.safetensors. What cannot
/// be read, or counts on lines that metrics.jsonl has not, is put into `wrong`.
std::vector<int64_t> steps_of(const Job& job, const std::string& out, std::string& wrong);

/// Calls f(0) … f(count − 1), two at a time; f returns what went wrong, or nothing. All of that, one paragraph each.
std::string two_at_a_time(int64_t count, const std::function<std::string(int64_t)>& f);

}  // namespace sked::test
