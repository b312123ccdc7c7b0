// replicate: ranks that mpirun starts share the runs of a plan, stop together, and end with the results of one process.

#include <doctest/doctest.h>
#include <signal.h>

#include <algorithm>
#include <filesystem>

#include "apps/replicate/ranks.h"
#include "core/file.h"
#include "tests/apps/plans.h"
#include "tests/common/mpirun.h"
#include "tests/common/thread_ranks.h"

using namespace sked;
using namespace sked::test;

namespace {

/// A plan with all that runs wait for each other for: tuning, ensembles, calibration.
struct WholePlan : Workplace {
  WholePlan() {
    plan["base"]["train"]["epochs"] = 1;
    plan["tuning"] = {{"schedule.peak", {0.02, 0.05}}};
    plan["ensembles"] = plan["calibrated"] = true;
    write();
  }
  void write() const { folder.write("plan.json", plan.dump()); }
  LibraryJson plan = library_json(slurp(folder.path("plan.json")));
};

size_t finished_runs(const std::string& out) {
  size_t count = 0;
  std::error_code error;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(out, error))
    count += entry.path().filename() == "summary.json";
  return count;
}

}  // namespace

TEST_CASE("plan ranks: any number of them ends with the results of one process, also when some were killed") {
  if (!has_mpirun()) return;
  const WholePlan place;
  const auto same = [&](const std::string& out) {
    CHECK(without_timings(place.results(out)) == without_timings(place.results("one")));
    CHECK(slurp(place.folder.path(out + "/report.html")).ends_with("</body></html>\n"));
    for (const auto& entry : std::filesystem::directory_iterator(place.folder.path(out)))
      CHECK_FALSE(entry.path().filename().string().starts_with('.'));
  };
  REQUIRE(run_program(place.command("one")).code == 0);
  const Outcome two = mpirun(2, place.command("two"));
  REQUIRE_MESSAGE(two.code == 0, two.err);
  same("two");
  CHECK(two.err.empty());
  CHECK(occurrences(two.out, " into ") == 1);  // rank 0 alone speaks
  for (const char* said : {"by 2 ranks", "DET, ensemble of 2: nll", "HET <XL>, calibrated", "\n**fashion-mnist**"})
    CHECK(occurrences(two.out, said) == 1);
  CHECK_FALSE(has(two.out, "passed over"));

  // A rank is killed, which ends the others; then as many again as there are runs, and one more.
  const std::string out = place.folder.path("three");
  const auto kill_one = [&] {
    if (finished_runs(out) < 2) return false;
    const std::vector<pid_t> ranks = processes_of("replicate", out);
    if (!ranks.empty()) ::kill(ranks.back(), SIGKILL);
    return !ranks.empty();
  };
  const Outcome killed = mpirun(3, place.command("three"), {.signal = SIGCONT, .when = kill_one});
  CHECK(killed.code != 0);
  const size_t kept = finished_runs(out);
  CHECK(kept < 8);
  const Outcome rest = mpirun(5, place.command("three"));
  REQUIRE_MESSAGE(rest.code == 0, rest.err);
  same("three");

  const auto date = [&] { return number_at(slurp(out + "/results.json"), "/cells/0/runs/0/summary/train_seconds"); };
  const double before = date();
  const Outcome fresh = mpirun(2, place.command("three", {"--fresh"}));
  REQUIRE_MESSAGE(fresh.code == 0, fresh.err);
  same("three");
  CHECK(date() != before);
}

TEST_CASE("plan ranks: asked to stop, or failing, one ends all; the same command goes on") {
  if (!has_mpirun()) return;
  WholePlan place;
  place.plan.erase("tuning");
  place.plan["heads"]["DET"]["train.epochs"] = 40;
  place.plan["seeds"] = {0, 1};
  place.write();
  REQUIRE(run_program(place.command("one")).code == 0);
  const std::string out = place.folder.path("two");
  const auto stop_one = [&] {
    if (count_lines(out + "/fashion-mnist/DET/seed-0/metrics.jsonl") < 5) return false;
    const std::vector<pid_t> ranks = processes_of("replicate", out);
    if (!ranks.empty()) ::kill(ranks.back(), SIGTERM);
    return !ranks.empty();
  };
  const Outcome stopped = mpirun(2, place.command("two"), {.signal = SIGCONT, .when = stop_one});
  CHECK_MESSAGE(stopped.code == 143, stopped.err);
  CHECK_FALSE(has(stopped.err, "error:"));
  CHECK(std::filesystem::exists(out + "/fashion-mnist/DET/seed-0/last.safetensors"));
  CHECK_FALSE(std::filesystem::exists(out + "/fashion-mnist/DET/seed-0/summary.json"));
  REQUIRE(run_program(place.command("two")).code == 0);
  CHECK(without_timings(place.results("two")) == without_timings(place.results("one")));

  place.plan["heads"]["DET"] = {{"head.kind", "det"}, {"schedule.peak", 1e30}};
  place.write();
  const Outcome failed = mpirun(2, place.command("bad"));
  CHECK(failed.code == 1);
  CHECK(occurrences(failed.err, "error:") == 1);
  CHECK_MESSAGE(has(failed.err, "[train] the loss of step"), failed.err);
  CHECK_FALSE(place.exists("bad/report.html"));
  const Outcome listed = mpirun(2, place.command("bad", {"--dry-run"}));
  CHECK(listed.code == 0);
  CHECK(occurrences(listed.out, "Nothing is done") == 1);
}

TEST_CASE("plan ranks: a folder that is not shared, or whose locks are not, is refused") {
  const TemporaryFolder folder;
  const RunFolder shared{folder.path("shared")}, mine{folder.path("mine")};
  on_ranks(3, [&](Communicator& ranks) { check_shared(ranks, shared); });
  CHECK_FALSE(std::filesystem::exists(shared.path));
  const auto refusal = [&] {
    try {
      on_ranks(2, [&](Communicator& ranks) { check_shared(ranks, ranks.rank() == 0 ? shared : mine); });
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  CHECK(one_line_with(refusal(), "mine", "rank 1", "does not see what rank 0 wrote"));
  mine.create();
  write_file(mine.metrics(), "");
  CHECK(one_line_with(refusal(), "mine", "rank 1", "does not see the lock of rank 0"));
  const MetricsLog other(shared);  // another job's process: rank 0 need not hold it itself
  on_ranks(2, [&](Communicator& ranks) { check_shared(ranks, shared); });
}

TEST_CASE("plan ranks: one that has another plan than rank 0 is refused") {
  Plan plan;
  plan.path = "plan.json";
  on_ranks(2, [&](Communicator& ranks) { check_alike(ranks, plan, "{}"); });
  try {
    on_ranks(2, [&](Communicator& ranks) { check_alike(ranks, plan, ranks.rank() == 0 ? "{}" : "{1}"); });
    FAIL("two plans");
  } catch (const UsageError& error) {
    CHECK(one_line_with(error.what(), "plan.json", "rank 1", "other runs than rank 0"));
  }
}
