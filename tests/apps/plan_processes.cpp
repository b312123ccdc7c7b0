// replicate: several processes on one plan share its runs, and take over what one of them leaves.

#include <doctest/doctest.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <future>
#include <thread>

#include "core/file.h"
#include "tests/apps/plans.h"

using namespace sked;
using namespace sked::test;

namespace {

const char* const kFirst = "fashion-mnist/DET/seed-0";

std::future<Outcome> start(const std::vector<std::string>& command, const RunLimits& limits = {}) {
  return std::async(std::launch::async, [=] { return run_program(command, limits); });
}

/// Waits for what has to come.
void await(const std::function<bool()>& there) {
  for (int i = 0; i < 60000 && !there(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  REQUIRE(there());
}

/// A process that has the lock of a file, and nothing else to do.
class Holder {
 public:
  explicit Holder(const std::string& file) : child_(fork()) {
    if (child_ == 0) {
      const int held = ::open(file.c_str(), O_RDWR | O_CLOEXEC);
      if (held < 0 || ::flock(held, LOCK_EX | LOCK_NB) != 0) _exit(1);
      for (;;) pause();
    }
    await([&] { return has_another_process({std::filesystem::path(file).parent_path()}); });
  }
  ~Holder() { die(); }
  Holder(const Holder&) = delete;
  Holder& operator=(const Holder&) = delete;
  void die() {
    if (child_ > 0 && kill(child_, SIGKILL) == 0) waitpid(child_, nullptr, 0);
    child_ = 0;
  }

 private:
  pid_t child_;
};

}  // namespace

TEST_CASE("processes: two on one plan end with the results of one, and train no run twice") {
  const Workplace place;
  REQUIRE(run_program(place.command("one")).code == 0);
  std::future<Outcome> first = start(place.command("two")), second = start(place.command("two"));
  const Outcome a = first.get(), b = second.get();
  REQUIRE_MESSAGE(a.code == 0, a.err);
  REQUIRE_MESSAGE(b.code == 0, b.err);
  CHECK(a.err.empty());
  CHECK(b.err.empty());
  CHECK(without_timings(place.results("two")) == without_timings(place.results("one")));
  CHECK(slurp(place.folder.path("two/report.html")).ends_with("</body></html>\n"));
  for (const char* run : {"DET/seed-0", "DET/seed-1", "HET--XL-/seed-0", "HET--XL-/seed-1"}) {
    CAPTURE(run);
    const std::string metrics = "/fashion-mnist/" + std::string(run) + "/metrics.jsonl";
    CHECK(metrics_without_timings(place.folder.path("two" + metrics)) ==
          metrics_without_timings(place.folder.path("one" + metrics)));
  }
  for (const Outcome& outcome : {a, b}) CHECK(has(outcome.out, "[4/4]"));
  // An evaluation is said by the process that makes it.
  CHECK(occurrences(a.out + b.out, "epoch 3  validation: nll") == 4);
  CHECK(occurrences(a.out + b.out, "(by another process)") <= 4);
}

TEST_CASE("processes: a run that another one has is passed over, waited for, and gone on with when that one dies") {
  Workplace place;
  RunConfig base = tiny_config(place.folder.path("data"));
  base.train.steps = 20;
  base.train.checkpoint_every = 7;
  const LibraryJson longer = {{"head.kind", "det"}, {"train.steps", 300}, {"train.eval_every", 10}};
  const LibraryJson plan = {{"base", library_json(config_text(base))},
                            {"heads", {{"DET", longer}, {"HET", {{"head.rank", 3}}}}},
                            {"seeds", {0}}};
  place.folder.write("plan.json", plan.dump());
  REQUIRE(run_program(place.command("one")).code == 0);

  const std::string metrics = place.folder.path("two/" + std::string(kFirst) + "/metrics.jsonl");
  const std::string said = place.folder.write("said.txt", "");
  const auto ready = [&] { return count_lines(metrics) > 8; };
  const auto kill = [&] { return run_program(place.command("two"), {.signal = SIGKILL, .when = ready}); };
  REQUIRE(until_stopped(place.folder.path("two"), (std::string(kFirst) + "/summary.json").c_str(), kill).killed);
  Holder holder(metrics);  // as if that one lived on
  std::future<Outcome> going_on = start(place.command("two"), {.stdout_file = said});
  await([&] { return has(slurp(said), "waiting for 1 run"); });
  holder.die();
  const Outcome second = going_on.get();
  const std::string out = slurp(said);
  const size_t passed = out.find("DET · seed 0: another process has it, passed over\n");
  const size_t taken = out.find("[1/2] fashion-mnist · HET · seed 0: nll");
  const size_t waits = out.find("waiting for 1 run of other processes");
  const size_t goes_on = out.find("goes on from step");
  CHECK(passed < taken);
  CHECK(taken < waits);
  CHECK(waits < goes_on);
  CHECK(goes_on < out.size());
  CHECK(without_timings(place.results("two")) == without_timings(place.results("one")));
  CHECK(metrics_without_timings(metrics) ==
        metrics_without_timings(place.folder.path("one/" + std::string(kFirst) + "/metrics.jsonl")));
}

TEST_CASE("processes: one that waits leaves at Ctrl-C, and reads what another finishes") {
  const Workplace place;
  const std::vector<std::string> quick{"--seed", "0", "--set", "train.steps=5"};
  const RunFolder held{place.folder.path("out/" + std::string(kFirst))};
  const MetricsLog other(held);  // this process is the other one
  const RunFolder free{place.folder.path("out/fashion-mnist/HET--XL-/seed-0")};
  const auto results = place.folder.path("out/table.md");
  const Outcome stopped = run_program(place.command("out", quick),
                                      {.signal = SIGINT, .when = [&] { return std::filesystem::exists(results); }});
  CHECK(stopped.code == 130);
  CHECK(stopped.err.empty());
  CHECK(std::filesystem::exists(free.summary()));
  CHECK_FALSE(place.exists("out/report.html"));

  std::vector<std::string> dry_run = quick, fresh = quick, limited = quick;
  limited.insert(limited.end(), {"--set", "train.time_limit=1"});
  CHECK(run_program(place.command("out", limited)).code == 124);
  dry_run.push_back("--dry-run");
  fresh.push_back("--fresh");
  const Outcome listed = run_program(place.command("out", dry_run));
  CHECK(has(listed.out, "DET       0     DET/seed-0       begun     another process\n"));
  CHECK(has(listed.out, "HET <XL>  0     HET--XL-/seed-0  finished  keep\n"));
  CHECK(fails_with(run_program(place.command("out", fresh)), 1, kFirst, "another process", "--fresh"));
  CHECK(std::filesystem::exists(free.summary()));

  // The other finishes it: a run of the same configuration, made elsewhere.
  REQUIRE(run_program(place.command("elsewhere", quick)).code == 0);
  const std::string said = place.folder.write("said.txt", "");
  std::future<Outcome> waiting = start(place.command("out", quick), {.stdout_file = said});
  await([&] { return has(slurp(said), "waiting for 1 run of other processes"); });
  const RunFolder whole{place.folder.path("elsewhere/" + std::string(kFirst))};
  for (const auto& [from, to] : {std::pair(whole.config(), held.config()),
                                 {whole.last(), held.last()},
                                 {whole.best(), held.best()},
                                 {whole.summary(), held.summary()}})
    write_file(to, slurp(from));
  const Outcome outcome = waiting.get();
  REQUIRE_MESSAGE(outcome.code == 0, outcome.err);
  CHECK(has(slurp(said), "  (by another process)\n"));
  CHECK(place.results("out")["cells"].size() == 2);
  CHECK(place.exists("out/report.html"));
}

TEST_CASE("processes: features of a locked backbone that another one computes are waited for") {
  const TrainPlace place;
  RunConfig config = place.config();
  config.train.init = train_run(place.folder, config, "base") + "/last.safetensors";
  config.data.train_pipeline = config.data.eval_pipeline;
  config.train.lock_backbone = true;
  config.train.features = place.folder.path("kept");
  config.train.steps = 5;
  place.write_config(config);
  REQUIRE(run_program(place.command("first")).code == 0);
  std::vector<std::string> kept;
  for (const auto& file : std::filesystem::directory_iterator(config.train.features)) kept.push_back(file.path());
  REQUIRE_FALSE(kept.empty());
  const std::string elsewhere = place.folder.path("elsewhere"), said = place.folder.write("said.txt", "");
  std::filesystem::rename(kept[0], elsewhere);
  const int lock = ::open((kept[0] + ".partial").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  REQUIRE(::flock(lock, LOCK_EX) == 0);
  std::future<Outcome> second = start(place.command("second"), {.stdout_file = said});
  await([&] { return has(slurp(said), "another process is writing it: waiting for it"); });
  std::filesystem::rename(elsewhere, kept[0]);  // it is finished
  std::filesystem::remove(kept[0] + ".partial");
  ::close(lock);
  const Outcome outcome = second.get();
  REQUIRE_MESSAGE(outcome.code == 0, outcome.err);
  CHECK(occurrences(slurp(said), "waiting for it") == 1);
  CHECK(metrics_without_timings(place.run("second").metrics()) ==
        metrics_without_timings(place.run("first").metrics()));
}
