// The folder of a run: what is not the run's own is never touched, what is lost of it costs as little as can be.

#include "apps/common/run/run_folder.h"

#include <doctest/doctest.h>
#include <signal.h>
#include <sys/stat.h>

#include <algorithm>
#include <limits>
#include <optional>
#include <sstream>

#include "apps/common/run/checkpoint.h"
#include "apps/common/run/resume.h"
#include "apps/common/run/trainer.h"
#include "core/error.h"
#include "core/file.h"
#include "tests/apps/support.h"
#include "tests/common/compare.h"

using namespace sked;
using namespace sked::test;

namespace {

namespace fs = std::filesystem;

const TrainOptions kQuiet{.quiet = true};

/// Stops a training of many short steps by `signal`, after 20 of them.
Outcome stopped_by(const TrainPlace& place, const std::string& run, int signal) {
  const size_t before = count_lines(place.run(run).metrics());
  return run_program(place.command(run, {"--set", "train.epochs=400", "--set", "train.checkpoint_every=100000", "--set",
                                         "train.eval_every=0"}),
                     {.signal = signal, .when = [&] { return count_lines(place.run(run).metrics()) >= before + 20; }});
}

/// A run stopped by a signal in the middle: a checkpoint at its last step, no result.
RunFolder unfinished(const TrainPlace& place, const std::string& name) {
  REQUIRE(stopped_by(place, name, SIGTERM).code == 143);
  return place.run(name);
}

}  // namespace

TEST_CASE("run folder: SIGTERM and SIGHUP are Ctrl-C: a checkpoint of the last step, and an exit status of their own") {
  const TrainPlace place;
  for (const auto& [signal, code] : {std::pair{SIGINT, 130}, std::pair{SIGTERM, 143}, std::pair{SIGHUP, 129}}) {
    const std::string name = std::to_string(signal);
    const Outcome outcome = stopped_by(place, name, signal);
    CHECK(outcome.code == code);
    CHECK(outcome.err.empty());
    const RunFolder run = place.run(name);
    REQUIRE(fs::exists(run.last()));
    // The checkpoint is of the last step that was done: every step is a line here.
    CHECK(read_checkpoint(run.last()).state.step == static_cast<int64_t>(count_lines(run.metrics())));
    CHECK(outcome.out.find("the same command goes on from there") != std::string::npos);
  }
}

TEST_CASE("run folder: train.time_limit stops a run as Ctrl-C does, and it goes on with another limit") {
  const TrainPlace place;
  RunConfig config = place.config();
  config.train.epochs = 2000;
  config.train.eval_every = 0;
  place.write_config(config);
  const Outcome outcome = run_program(place.command("run", {"--set", "train.time_limit=0.5"}));
  CHECK(outcome.code == 124);
  CHECK(outcome.err.empty());
  const int64_t step = read_checkpoint(place.run("run").last()).state.step;
  CHECK(step > 0);
  CHECK(step < 20000);
  CHECK(run_program(place.command("run", {"--set", "train.time_limit=0.4"})).code == 124);
  CHECK(read_checkpoint(place.run("run").last()).state.step > step);
  CHECK(fails_with(run_program(place.command("run", {"--set", "train.time_limit=-1"})), 2, "train.time_limit"));
}

TEST_CASE("run folder: however short train.time_limit is, every start gets further, to the end of the final test") {
  const TrainPlace place;
  RunConfig config = place.config();
  config.train.steps = 2;
  config.train.eval_every = 0;  // one evaluation, at the end
  place.write_config(config);
  const std::vector<std::string> limited{"--set", "train.time_limit=0.000001"};
  CHECK(run_program(place.command("run", limited)).code == 124);  // a step
  CHECK(read_checkpoint(place.run("run").last()).state.step == 1);
  CHECK(run_program(place.command("run", limited)).code == 124);  // another, and its evaluation was stopped
  CHECK(read_checkpoint(place.run("run").last()).state.step == 2);
  CHECK(read_checkpoint(place.run("run").last()).state.evaluated_step == 0);
  CHECK(run_program(place.command("run", limited)).code == 124);  // the evaluation
  CHECK(read_checkpoint(place.run("run").last()).state.evaluated_step == 2);
  CHECK(run_program(place.command("run", limited)).code == 0);  // the test
  CHECK(run_program(place.command("whole")).code == 0);
  CHECK(metrics_without_timings(place.run("run").metrics()) == metrics_without_timings(place.run("whole").metrics()));
  CHECK(tensors(place.run("run").best()) == tensors(place.run("whole").best()));
}

TEST_CASE("run folder: files of somebody's own are not touched") {
  const TrainPlace place;
  for (const std::string mine : {"metrics.jsonl", "best.safetensors", "summary.json", "config.json", "init.json",
                                 "last.safetensors", "previous.safetensors"}) {
    CAPTURE(mine);
    const std::string file = place.folder.write("own-" + mine + "/" + mine, "mine");
    for (const bool fresh : {false, true}) {
      const auto more = fresh ? std::vector<std::string>{"--fresh"} : std::vector<std::string>{};
      CHECK(fails_with(run_program(place.command("own-" + mine, more)), 1, mine));
      CHECK(slurp(file) == "mine");
      CHECK(std::distance(fs::directory_iterator(place.run("own-" + mine).path), {}) == 1);
    }
  }
  // Among the files of a run too, under --fresh as well.
  place.folder.write("run/notes.tmp", "mine");
  place.folder.write("run/last.safetensors.tmp", "mine");
  place.folder.write("run/thesis.tex", "mine");
  CHECK(run_program(place.command("run")).code == 0);
  CHECK(run_program(place.command("run", {"--fresh"})).code == 0);
  for (const char* file : {"run/notes.tmp", "run/last.safetensors.tmp", "run/thesis.tex"})
    CHECK(slurp(place.folder.path(file)) == "mine");
}

TEST_CASE("run folder: temporaries that a kill left go, one that another process has stays, whose file is written") {
  const TemporaryFolder place;
  const RunFolder folder{place.path("run")};
  folder.create();
  const std::string left = place.write("run/summary.json" + std::string(kTemporary), "left"),
                    unique = place.write("run/last.safetensors.123.0.tmp", "left");
  std::optional<AtomicFile> probe(folder.config());  // as a process has it that looks whether it can write here
  folder.clear_temporaries();
  CHECK_FALSE(fs::exists(left));
  CHECK_FALSE(fs::exists(unique));
  CHECK(fs::exists(folder.config() + std::string(kTemporary)));
  AtomicFile config(folder.config());
  config.write("{}");
  probe.reset();
  config.commit();
  CHECK(slurp(folder.config()) == "{}");
  CHECK(std::distance(fs::directory_iterator(folder.path), {}) == 1);
}

TEST_CASE("run folder: a configuration of somebody's own is not replaced by the resolved one") {
  const TrainPlace place;
  const std::string mine = R"({"train": {"steps": 1}, "optimizer": {}, "data": {"root": ")" +
                           place.folder.path("data") + R"(", "validation": 40}})";
  const std::string file = place.folder.write("run/config.json", mine);
  const std::vector<std::string> command{"train", "--config", file, "--out", place.folder.path("run")};
  CHECK(fails_with(run_program(command), 1, file, "nothing in it is touched"));
  CHECK(slurp(file) == mine);
  place.folder.write("run/config.json", config_text(parse_config(mine, "mine")));  // as a run writes it
  for (int i = 0; i < 2; ++i) CHECK(run_program(command).code == 0);
}

TEST_CASE("run folder: the checkpoint before the last is not lost with the last") {
  const TrainPlace place;
  RunFolder run = place.run("run");
  const std::vector<std::string> limited{"--set", "train.time_limit=0.000001"};
  for (int step = 1; step <= 2; ++step) CHECK(run_program(place.command("run", limited)).code == 124);
  const std::string last = slurp(run.last()), previous = slurp(run.previous());
  place.folder.write("run/last.safetensors", last.substr(0, last.size() - 1));
  CHECK(fails_with(run_program(place.command("run")), 1, run.last(), run.previous()));
  fs::remove(run.last());
  CHECK(fails_with(run_program(place.command("run")), 1, run.previous(), "--fresh"));
  CHECK(slurp(run.previous()) == previous);
  fs::rename(run.previous(), run.last());
  CHECK(run_program(place.command("run")).code == 0);
}

TEST_CASE("run folder: a summary without results is none") {
  const TrainPlace place;
  REQUIRE(run_program(place.command("run", {"--set", "train.steps=1"})).code == 0);
  for (const std::string text : {R"({"test": {}})", R"({"test": {"nll": 0.1, "count": 0}})"}) {
    place.folder.write("run/summary.json", text);
    CHECK(fails_with(run_program(place.command("run", {"--set", "train.steps=1"})), 1, "summary.json", "no image"));
  }
}

TEST_CASE("run folder: what is no regular file is not waited for, and left as it is") {
  const TrainPlace place;
  for (const std::string mine : {"metrics.jsonl", "config.json", "last.safetensors", "summary.json"}) {
    CAPTURE(mine);
    fs::create_directories(place.run("pipe-" + mine).path);
    fs::create_directories(place.folder.path("folder-" + mine + "/" + mine));
    REQUIRE(mkfifo(place.folder.path("pipe-" + mine + "/" + mine).c_str(), 0600) == 0);
    for (const std::string kind : {"pipe-", "folder-"})
      CHECK(fails_with(run_program(place.command(kind + mine)), 1, mine, "expected a regular file"));
    CHECK(fs::is_fifo(place.folder.path("pipe-" + mine + "/" + mine)));
  }
}

TEST_CASE("run folder: metrics.jsonl is not reached through a symbolic link") {
  const TrainPlace place;
  const std::string precious = place.folder.write("precious.txt", "mine");
  fs::create_directories(place.run("run").path);
  fs::create_symlink(precious, place.run("run").metrics());
  CHECK(fails_with(run_program(place.command("run")), 1, "metrics.jsonl"));
  CHECK(slurp(precious) == "mine");
  // Also where the rest is a run's.
  const RunFolder run = unfinished(place, "other");
  fs::remove(run.metrics());
  fs::create_symlink(precious, run.metrics());
  CHECK(fails_with(stopped_by(place, "other", 0), 1, "metrics.jsonl", "symbolic link"));
  CHECK(slurp(precious) == "mine");
}

TEST_CASE("run folder: a metrics.jsonl that is lost or shortened does not cost the run") {
  const TrainPlace place;
  const RunConfig config = place.config();
  train(config, place.run("whole").path, kQuiet);
  for (const bool gone : {true, false}) {
    CAPTURE(gone);
    const std::string name = gone ? "gone" : "cut";
    const RunFolder run = unfinished(place, name);
    const std::string before = slurp(run.metrics());
    const int64_t step = read_checkpoint(run.last()).state.step;
    if (gone) fs::remove(run.metrics());
    if (!gone) fs::resize_file(run.metrics(), before.size() / 2);  // in the middle of a line
    const Outcome outcome = stopped_by(place, name, SIGTERM);
    CHECK(outcome.code == 143);
    CHECK(outcome.err.find("metrics.jsonl has") != std::string::npos);
    CHECK(read_checkpoint(run.last()).state.step > step);
    std::istringstream lines(slurp(run.metrics()));
    std::vector<int64_t> steps;
    for (std::string line; std::getline(lines, line);) steps.push_back(static_cast<int64_t>(number_at(line, "/step")));
    CHECK(std::ranges::is_sorted(steps));
    CHECK(std::ranges::find(steps, step) == steps.end());  // it was among the lines that are lost
    CHECK(std::ranges::find(steps, step + 1) != steps.end());
  }
}

TEST_CASE("run folder: a lost best.safetensors or config.json does not cost the run either") {
  const TrainPlace place;
  RunConfig config = place.config();
  config.train.epochs = 100;
  place.write_config(config);
  const auto stop = [&] {
    return run_program(place.command("run"),
                       {.signal = SIGTERM, .when = [&] { return count_lines(place.run("run").metrics()) >= 25; }});
  };
  REQUIRE(stop().code == 143);
  const RunFolder run = place.run("run");
  REQUIRE(fs::exists(run.best()));
  fs::remove(run.best());
  fs::remove(run.config());
  const Outcome outcome = run_program(place.command("run"));
  CHECK(outcome.code == 0);
  CHECK(outcome.err.find("best.safetensors is not there any more") != std::string::npos);
  CHECK(fs::exists(run.best()));
  CHECK(fs::exists(run.config()));
}

TEST_CASE("run folder: the number of threads is part of what a resumed run is told") {
  const TrainPlace place;
  const RunFolder run = unfinished(place, "run");
  CHECK(read_checkpoint(run.last()).state.threads == 1);
  CHECK(read_checkpoint(run.last()).state.precision == "f32");
  CHECK(stopped_by(place, "run", SIGTERM).err.empty());
  std::vector<std::string> other =
      place.command("run", {"--set", "train.epochs=400", "--set", "train.checkpoint_every=100000", "--set",
                            "train.eval_every=0", "--set", "train.time_limit=0.5"});
  other[6] = "3";
  const Outcome outcome = run_program(other);
  CHECK(outcome.err.find("was trained with 1 thread and goes on with 3 threads") != std::string::npos);
}

TEST_CASE("run folder: what is asked of a run before its turn is answered by its header") {
  const TrainPlace place;
  RunConfig config = place.config();
  config.train.epochs = 1;
  train(config, place.run("run").path, kQuiet);
  const RunFolder run = place.run("run");
  fs::remove(run.summary());
  const std::string whole = slurp(run.last());
  check_run(run, config, false);
  RunConfig other = config;
  other.schedule.peak = 0.01;
  CHECK(one_line_with(error_of([&] { check_run(run, other, false); }), run.last(), "schedule.peak differs"));
  place.folder.write("run/last.safetensors", whole.substr(0, whole.size() - 1));
  CHECK(one_line_with(error_of([&] { check_run(run, config, false); }), run.last()));
  std::string damaged = whole;
  damaged[damaged.size() - 2] ^= 1;
  place.folder.write("run/last.safetensors", damaged);
  check_run(run, config, false);
  CHECK(one_line_with(error_of([&] { find_run(run, config, false); }), run.last(), "damaged"));
}

TEST_CASE("run folder: two processes do not share one") {
  const TrainPlace place;
  const RunFolder run = unfinished(place, "run");
  const std::string metrics = slurp(run.metrics()), last = slurp(run.last());
  {
    const MetricsLog held(run);
    CHECK(fails_with(stopped_by(place, "run", 0), 1, "metrics.jsonl", "another process"));
    CHECK(fails_with(run_program(place.command("run", {"--fresh"})), 1, "metrics.jsonl", "another process"));
  }
  CHECK(slurp(run.metrics()) == metrics);
  CHECK(slurp(run.last()) == last);
  // A folder that nothing was written to goes away with what held it.
  { const MetricsLog held(place.run("new")); }
  CHECK_FALSE(fs::exists(place.run("new").path));
}

TEST_CASE("run folder: the checkpoint before the last is there until the run is finished") {
  const TrainPlace place;
  RunConfig config = place.config();
  config.train.checkpoint_every = 4;
  config.train.epochs = 2000;
  place.write_config(config);
  const RunFolder run = place.run("run");
  run_program(place.command("run"), {.signal = SIGKILL, .when = [&] { return count_lines(run.metrics()) >= 23; }});
  REQUIRE(fs::exists(run.previous()));
  const int64_t last = read_checkpoint(run.last()).state.step, previous = read_checkpoint(run.previous()).state.step;
  CHECK((previous == last - 4 || previous == last));  // the latter where the kill came before the next was written
  config.train.epochs = 1;
  train(config, place.run("short").path, kQuiet);
  CHECK_FALSE(fs::exists(place.run("short").previous()));
}

TEST_CASE("run folder: a run that diverges keeps the last good checkpoint and the one before it") {
  const TrainPlace place;
  RunConfig config = place.config();
  config.train.checkpoint_every = 1;
  config.train.eval_every = 0;
  config.train.epochs = 20;
  // The learning rate grows by the step until the weights are not numbers any more.
  config.schedule = {.kind = ScheduleKind::linear, .peak = 1e38, .warmup_steps = 1000};
  const RunFolder run = place.run("run");
  std::string first;
  for (int start = 0; start < 2; ++start) {
    const std::string error = error_of([&] { train(config, run.path, kQuiet); });
    CHECK(one_line_with(error, "[train]", "schedule.peak", "the last checkpoint is untouched", "last.safetensors"));
    for (const auto& [name, tensor] : load_safetensors(run.last()).tensors) CHECK_MESSAGE(all_finite(tensor), name);
    if (start == 0) first = error;
    CHECK(error == first);  // it can be tried again, from the same checkpoint
  }
}

TEST_CASE("run folder: weights that are not finite are not written over good ones") {
  const TrainPlace place;
  train(place.config(), place.run("run").path, kQuiet);
  const std::string path = place.run("run").last(), before = slurp(path);
  const Checkpoint c = read_checkpoint(path);
  struct Bad : Module {
    Bad() { add("weight", weight); }
    Var weight = parameter(Tensor::full({2}, std::numeric_limits<double>::quiet_NaN()));
  };
  const Bad bad;
  CHECK(one_line_with(error_of([&] {
                        save_weights(path, bad, {c.config, *c.data}, c.state);
                      }),
                      "last.safetensors", "weight", "not finite"));
  CHECK(slurp(path) == before);
}

TEST_CASE("run folder: closed standard streams lead nowhere") {
  const TrainPlace place;
  REQUIRE(run_program(place.command("whole")).code == 0);
  const std::string whole = metrics_without_timings(place.run("whole").metrics());
  for (const auto& closed : std::vector<std::vector<int>>{{1}, {2}, {0, 1, 2}}) {
    const std::string name = "closed-" + std::to_string(closed.size()) + std::to_string(closed.back());
    CAPTURE(name);
    CHECK(run_program(place.command(name), {.closed = closed}).code == 0);
    CHECK(metrics_without_timings(place.run(name).metrics()) == whole);  // every line is JSON
    CHECK(tensors(place.run(name).last()) == tensors(place.run("whole").last()));
  }
  CHECK(run_program(place.command("bad", {"--set", "head.rank=9"}), {.closed = {1, 2}}).code == 2);
}

TEST_CASE("run folder: too little memory is one line") {
  const TrainPlace place;
  for (const uint64_t megabytes : {300, 330, 360, 400, 440, 500}) {
    const Outcome outcome = run_program(place.command("run"), {.address_bytes = megabytes << 20});
    CAPTURE(megabytes);
    CHECK((outcome.code == 0 || outcome.code == 1 || outcome.code == 127));  // 127: not even its libraries fit
    if (outcome.code == 1) CHECK(std::ranges::count(outcome.err, '\n') == 1);
  }
}
