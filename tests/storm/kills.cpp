// Programs that train are stopped at random moments by the signals they meet in practice, and given the same command
// again until they finish: nothing may be lost, and nothing may differ from a run that was never stopped.

#include <doctest/doctest.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <sstream>

#include "apps/common/run/run_folder.h"
#include "core/rng.h"
#include "tests/common/library_json.h"
#include "tests/storm/storm.h"

using namespace sked;
using namespace sked::test;

namespace {

constexpr int kSignals[] = {SIGKILL, SIGTERM, SIGINT, SIGHUP};
const char* signal_name(int signal) {
  return signal == SIGKILL ? "KILL" : signal == SIGTERM ? "TERM" : signal == SIGINT ? "INT" : "HUP";
}

/// Is a file below `folder` half written at this moment?
bool writes_now(const std::string& folder) {
  std::error_code gone;
  for (std::filesystem::recursive_directory_iterator at(folder, gone), end; !gone && at != end; at.increment(gone))
    if (at->path().extension() == ".tmp") return true;
  return false;
}

/// The step of the last line of training in metrics.jsonl; 0 where there is none.
int64_t logged_step(const RunFolder& run) {
  std::istringstream lines(slurp(run.metrics()));
  int64_t step = 0;
  for (std::string line; std::getline(lines, line);) {
    const auto record = library_json(line);
    if (record["split"] == "train") step = record["step"].get<int64_t>();
  }
  return step;
}

std::filesystem::file_time_type changed(const std::string& path) {
  std::error_code none;
  return std::filesystem::last_write_time(path, none);
}

/// One job, stopped again and again. Everything is drawn from (seed, story).
class Story {
 public:
  Story(const Job& job, const std::string& out, uint64_t seed, uint64_t story)
      : job_(job), out_(out), rng_({seed, story, 0}) {
    told_ = job.program + ", STORM_SEED=" + std::to_string(seed) + ", story " + std::to_string(story) + ":";
    steps_.assign(job.runs.size(), -1);
  }
  /// What went wrong, or nothing.
  std::string run();
  int kills() const { return kills_; }

 private:
  Outcome start(int signal);
  void check_stopped(const Outcome& outcome, int signal);
  void check_continued(const Outcome& outcome);
  void complain(const std::string& what) { wrong_ += what + "; "; }

  const Job& job_;
  const std::string out_;
  Rng rng_;
  std::string told_, wrong_;
  std::vector<int64_t> steps_;  // of each run's last checkpoint
  // Of each run, when the program was started:
  std::vector<std::filesystem::file_time_type> before_;  // the time of its metrics.jsonl
  std::vector<bool> pending_;                            // it was begun and not finished
  int kills_ = 0;
};

/// Starts the program and sends it `signal`: after a part of the time the whole job takes, or while it writes a file.
Outcome Story::start(int signal) {
  const auto begin = std::chrono::steady_clock::now();
  const auto elapsed = [begin] { return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin); };
  // Later and later, so that the story ends on a machine that has become slower, too.
  const double delay = job_.seconds * static_cast<double>(rng_.uniform()) * (1 + kills_ / 4.0);
  const bool while_writing = rng_.below(4) == 0;
  told_ += std::string(" ") + signal_name(signal) + (while_writing ? " while it writes after " : " after ") +
           std::to_string(static_cast<int>(1000 * delay)) + " ms,";
  before_.clear();
  pending_.clear();
  for (size_t r = 0; r < job_.runs.size(); ++r) {
    const RunFolder run{out_ + "/" + job_.runs[r]};
    before_.push_back(changed(run.metrics()));
    pending_.push_back(steps_[r] > 0 && !std::filesystem::exists(run.summary()));
  }
  // Where nothing is written any more, an end is made all the same.
  const auto when = [&] {
    const double now = elapsed().count();
    return now >= delay && (!while_writing || now >= delay + job_.seconds / 4 || writes_now(out_));
  };
  return run_program(job_.command(out_), {.signal = signal, .when = when, .environment = calm()});
}

/// After a signal that ended it, or that it obeyed.
void Story::check_stopped(const Outcome& outcome, int signal) {
  ++kills_;
  if (outcome.code != 128 + signal) complain("exit status " + std::to_string(outcome.code) + ": " + outcome.err);
  const std::vector<int64_t> now = steps_of(job_, out_, wrong_);
  for (size_t r = 0; r < now.size(); ++r) {
    const RunFolder run{out_ + "/" + job_.runs[r]};
    if (now[r] < steps_[r])
      complain(job_.runs[r] + " was at step " + std::to_string(steps_[r]) + ", is at " + std::to_string(now[r]));
    // A program that obeyed has a checkpoint of the very step it stopped at, of the run it had begun.
    const bool begun = changed(run.metrics()) != before_[r] && !std::filesystem::exists(run.summary());
    if (!outcome.killed && begun && std::max<int64_t>(now[r], 0) != logged_step(run))
      complain("stopped at step " + std::to_string(logged_step(run)) + ", its checkpoint is of step " +
               std::to_string(now[r]));
  }
  steps_ = now;
}

/// After it finished: it has gone on from the checkpoint that was there.
void Story::check_continued(const Outcome& outcome) {
  for (size_t r = 0; r < steps_.size(); ++r) {
    const std::string words = "goes on from step " + std::to_string(steps_[r]);
    if (pending_[r] && outcome.out.find(words) == std::string::npos)
      complain("expected \"" + words + "\" of " + job_.runs[r]);
  }
}

std::string Story::run() {
  std::filesystem::remove_all(out_);
  for (int attempt = 0; attempt < 200 && wrong_.empty(); ++attempt) {
    const int signal = kSignals[rng_.below(4)];
    const Outcome outcome = start(signal);
    if (outcome.code != 0) {
      check_stopped(outcome, signal);
      continue;
    }
    check_continued(outcome);
    wrong_ += difference_of(job_.whole, results_of(out_));
    break;
  }
  std::filesystem::remove_all(out_);
  return wrong_.empty() ? "" : told_ + "\n  " + wrong_;
}

/// Stories of `job` until `kills` have hit; in some the program ends before it is hit.
std::string storm(const Jobs& jobs, const Job& job, int64_t kills, uint64_t seed) {
  std::atomic<int64_t> done{0};
  const std::string wrong = two_at_a_time(4 * kills, [&](int64_t story) -> std::string {
    if (done >= kills) return "";
    Story s(job, jobs.folder(job.program + std::to_string(story)), seed, static_cast<uint64_t>(story));
    std::string what = s.run();
    done += s.kills();
    return what;
  });
  std::cout << job.program << ": " << done << " kills" << std::endl;
  CHECK(done >= kills);
  return wrong;
}

}  // namespace

TEST_CASE("kills: stopped at any moment by any signal, a program finishes as if it never was") {
  const int64_t kills = knob("STORM_KILLS", 24);
  const auto seed = static_cast<uint64_t>(knob("STORM_SEED", 1));
  const Jobs jobs(3);
  const auto programs = static_cast<int64_t>(jobs.all().size());
  for (const Job& job : jobs.all()) {
    const std::string wrong = storm(jobs, job, (kills + programs - 1) / programs, seed);
    CHECK_MESSAGE(wrong.empty(), wrong);
  }
}
