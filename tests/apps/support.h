#pragma once
// What tests of the programs need: a small data set on disk, a configuration that trains on it in a second, and a way
// to run the real binaries and to stop them at a chosen moment.

#include <doctest/doctest.h>

#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "apps/common/config/config.h"
#include "apps/common/run/run_folder.h"
#include "core/recording.h"
#include "tests/common/files.h"
#include "tests/common/mpirun.h"

namespace sked::test {

/// The size of a tiny data set: images of 8×8 in the files of Fashion-MNIST.
struct TinyData {
  int train = 200, test = 60;
  int worst_label = 9;  // labels are i mod 10, but the last training label is this
};

/// Writes <root>/fashion-mnist/*-ubyte: image i shows stripes whose direction and strength
/// tell its class, under noise.
void write_tiny_data(const std::string& root, const TinyData& data = {});

/// A residual network of one narrow stage on it: 10 steps an epoch, 3 epochs.
RunConfig tiny_config(const std::string& root);

/// The same for two towers, on captions from templates and HET-XL: some of its numbers may be made smaller still.
RunConfig tiny_captioned(RunConfig config);

/// A tiny data set, a configuration file for it, and runs of build/train.
struct TrainPlace {
  TrainPlace();
  RunConfig config() const { return tiny_config(folder.path("data")); }
  void write_config(const RunConfig& config) const;
  /// `more` is behind what every run is given.
  std::vector<std::string> command(const std::string& run, const std::vector<std::string>& more = {}) const;
  RunFolder run(const std::string& name) const { return {folder.path(name)}; }
  TemporaryFolder folder;
};

/// What a program did.
struct Outcome {
  int code = -1;           // exit code, or 128 + the signal that ended it
  bool killed = false;     // by that signal: it did not exit by itself
  int64_t peak_bytes = 0;  // the most that was resident
  std::string out;         // stdout
  std::string err;         // stderr
};

struct RunLimits {
  uint64_t file_bytes = 0;                                            // > 0: no file may grow beyond
  int signal = 0;                                                     // sent once `when` is true
  std::function<bool()> when = {};                                    // asked every millisecond
  std::vector<int> closed = {};                                       // of its standard streams
  std::string stdout_file = {};                                       // not empty: where stdout goes
  uint64_t address_bytes = 0;                                         // > 0: no more than this of memory
  std::vector<std::pair<std::string, std::string>> environment = {};  // variables set for it
  int64_t ranks = 0;                                                  // > 0: mpirun starts so many, see mpirun()
};

/// The build folder this test binary lies in.
std::string build_folder();

/// Runs build/<arguments[0]>, on the CPU where the arguments name no device, and waits for it.
Outcome run_program(const std::vector<std::string>& arguments, const RunLimits& limits = {});

/// The same on `ranks` ranks of this machine with a thread each, started by mpirun: the signal goes to it, output and
/// exit code are its own, beside what it says of ranks that fail.
Outcome mpirun(int64_t ranks, const std::vector<std::string>& arguments, RunLimits limits = {});

/// The processes of build/<program> that have `word` on their command line, in the order of their ids: its ranks.
std::vector<pid_t> processes_of(const std::string& program, const std::string& word);

/// What `run` did, which a signal is to stop: again, without its folder, for as often as it takes to hit it before it
/// writes `end` there.
template <class Run>
auto until_stopped(const std::filesystem::path& folder, const char* end, const Run& run) {
  auto outcome = run();
  for (int again = 0; again < 4 && std::filesystem::exists(folder / end); ++again) {
    std::filesystem::remove_all(folder);
    outcome = run();
  }
  return outcome;
}

/// A run of two steps in `folder`; its path.
std::string train_run(const TemporaryFolder& folder, RunConfig config, const std::string& name);

/// While one lives, steps are recorded on the CPU by a stand-in for CUDA graphs: each replay computes the recorded work
/// again, in memory set apart for it.
class StandInRecorder {
 public:
  StandInRecorder();
  ~StandInRecorder();
  StandInRecorder(const StandInRecorder&) = delete;
  StandInRecorder& operator=(const StandInRecorder&) = delete;
  /// Since it was made.
  int recordings() const;
  int replays() const;
};

/// The elements of every tensor of a file, by name; without the metadata, which holds timings.
std::map<std::string, std::vector<float>> tensors(const std::string& path);

/// Is stderr one line `error: …`?
bool one_error_line(const Outcome& outcome);

/// Did the program end with `code` and one error line that holds every one of `parts`?
template <class... Parts>
bool fails_with(const Outcome& outcome, int code, const Parts&... parts) {
  CHECK(outcome.code == code);
  const std::string line = outcome.err.substr(0, outcome.err.find('\n'));
  return one_error_line(outcome) && one_line_with(line, parts...);
}

/// Number of lines of a file; 0 when it is not there.
size_t count_lines(const std::string& path);

/// What lies at a pointer ("/test/nll", "/heads/7/head") of a JSON text, as JSON; empty where there is nothing.
std::string json_at(const std::string& json, const std::string& pointer);
/// A number that is there.
double number_at(const std::string& json, const std::string& pointer);
/// Text that is there.
std::string text_at(const std::string& json, const std::string& pointer);
/// How many there are in a list or an object, which may not be there.
size_t size_at(const std::string& json, const std::string& pointer);

/// metrics.jsonl without its timings, and without what they change.
std::string metrics_without_timings(const std::string& path);

}  // namespace sked::test
