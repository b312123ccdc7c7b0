// Every call by which a program that trains changes its files is made to fail, or to be the last one. The last good
// checkpoint must stay whole, what went wrong be said in one line, and the same command must then finish as if nothing
// had happened.

#include <doctest/doctest.h>
#include <signal.h>

#include <algorithm>
#include <set>
#include <sstream>

#include "core/rng.h"
#include "tests/storm/storm.h"

using namespace sked;
using namespace sked::test;

namespace {

#ifdef __SANITIZE_ADDRESS__
constexpr bool kPreloads = false;  // AddressSanitizer wants to come first
#else
constexpr bool kPreloads = true;
#endif

/// One call of one job, and how it ends.
struct Failure {
  const Job& job;
  std::string how;
  int64_t call;
};

Outcome run_failing(const Failure& f, const std::string& out, const std::string& log) {
  RunLimits limits{.environment = calm()};
  const std::pair<std::string, std::string> more[] = {{"LD_PRELOAD", build_folder() + "/obj/tests/storm/fail_calls.so"},
                                                      {"STORM_FOLDER", out},
                                                      {"STORM_CALL", std::to_string(f.call)},
                                                      {"STORM_HOW", f.how},
                                                      {"STORM_LOG", log}};
  limits.environment.insert(limits.environment.end(), std::begin(more), std::end(more));
  return run_program(f.job.command(out), limits);
}

/// The one line that begins with `error: `, and names a file of this run.
bool says_what(const std::string& text, const std::string& out) {
  std::istringstream lines(text);
  int errors = 0;
  bool named = false;
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with("error: ")) continue;
    ++errors;
    named = line.find(out) != std::string::npos;
  }
  return errors == 1 && named && text.ends_with('\n');
}

/// What is wrong with how the program ended; empty where nothing is.
std::string evaluate(const Failure& f, const Outcome& outcome, const std::string& out) {
  const bool fails = f.how.starts_with("E");
  const bool ok = f.how == "KILL"    ? outcome.killed && outcome.code == 128 + SIGKILL
                  : f.how == "INT"   ? outcome.code == 0 || outcome.code == 128 + SIGINT
                  : f.how == "short" ? outcome.code == 0
                                     : outcome.code == 0 || (outcome.code == 1 && says_what(outcome.err, out));
  if (ok && (!fails || !outcome.killed)) return "";
  return "it ended with " + std::to_string(outcome.code) + ": " + outcome.err + "; ";
}

/// The whole story of one failure; what went wrong.
std::string fail_and_finish(const Failure& f, const std::string& out) {
  std::filesystem::remove_all(out);
  const std::string log = out + ".log";
  std::string wrong = evaluate(f, run_failing(f, out, log), out);
  steps_of(f.job, out, wrong);
  const Outcome again = run_program(f.job.command(out), {.environment = calm()});
  if (again.code != 0) wrong += "the same command then ended with " + std::to_string(again.code) + ": " + again.err;
  if (wrong.empty()) wrong = difference_of(f.job.whole, results_of(out));
  std::istringstream lines(slurp(log));
  std::string line;
  for (int64_t i = 0; i < f.call; ++i) std::getline(lines, line);
  std::filesystem::remove(log);
  std::filesystem::remove_all(out);
  return wrong.empty() ? "" : f.job.program + ", " + f.how + " at call " + line + ":\n  " + wrong;
}

/// The numbers of a job's calls: all, or `most` of them drawn.
std::vector<int64_t> calls_of(const Jobs& jobs, const Job& job, int64_t most, uint64_t seed) {
  const std::string out = jobs.folder("counted-" + job.program), log = out + ".log";
  std::filesystem::remove_all(out);
  std::filesystem::remove(log);
  const Outcome outcome = run_failing({job, "none", 1 << 30}, out, log);
  CHECK(outcome.code == 0);
  std::istringstream lines(slurp(log));
  std::set<std::string> names;
  int64_t count = 0;
  for (std::string number, call, path; lines >> number >> call && std::getline(lines, path); ++count)
    names.insert(call);
  // The program's calls come by here at all.
  CHECK(std::ranges::includes(names, std::set<std::string>{"close", "fsync", "mkdir", "open", "rename", "write"}));
  std::vector<int64_t> numbers;
  Rng rng({seed, 7, 0});
  for (int64_t n = 1; n <= count; ++n)
    if (most >= count) numbers.push_back(n);
  while (most < count && static_cast<int64_t>(numbers.size()) < most)
    numbers.push_back(1 + static_cast<int64_t>(rng.below(static_cast<uint32_t>(count))));
  return numbers;
}

}  // namespace

TEST_CASE("failing calls: a file system without locks is said, and trained on") {
  if (!kPreloads) return skip("AddressSanitizer takes no preloaded library");
  const Jobs jobs(1);
  const Job& job = jobs.all().front();
  const std::string out = jobs.folder("no-locks");
  const Outcome outcome = run_failing({job, "no-locks", 1}, out, out + ".log");
  CHECK(outcome.code == 0);
  CHECK(outcome.err.find("metrics.jsonl: this file system has no locks (No locks available)") != std::string::npos);
  CHECK(difference_of(job.whole, results_of(out)).empty());
  for (const auto& file : std::filesystem::directory_iterator(out)) CHECK(file.path().extension() != ".tmp");
}

TEST_CASE(
    "failing calls: a full disk, a broken one, a kill in any write: the checkpoint is whole and training goes on") {
  if (!kPreloads) return skip("AddressSanitizer takes no preloaded library");
  const int64_t most = knob("STORM_CALLS", 1);  // of each program, and each way to fail
  const auto seed = static_cast<uint64_t>(knob("STORM_SEED", 1));
  const Jobs jobs(1);
  std::vector<Failure> failures;
  uint64_t stream = 0;
  for (const Job& job : jobs.all()) {
    for (const std::string how : {"ENOSPC", "EDQUOT", "EIO", "short", "KILL", "INT"})
      for (const int64_t call : calls_of(jobs, job, most, seed + stream++)) failures.push_back({job, how, call});
  }
  const std::string wrong = two_at_a_time(static_cast<int64_t>(failures.size()), [&](int64_t i) {
    return fail_and_finish(failures[static_cast<size_t>(i)], jobs.folder("failing" + std::to_string(i)));
  });
  CHECK_MESSAGE(wrong.empty(), wrong);
  std::cout << failures.size() << " failing calls" << std::endl;
}
