// Runs that go on longer, checkpoints that are kept, and folders whose training cannot go on.

#include <doctest/doctest.h>
#include <signal.h>

#include <algorithm>

#include "apps/common/run/checkpoint.h"
#include "apps/common/run/trainer.h"
#include "tests/apps/support.h"
#include "tests/common/compare.h"

using namespace sked;
using namespace sked::test;

namespace {

namespace fs = std::filesystem;

const TrainOptions kQuiet{.quiet = true};

std::vector<std::string> set(const std::vector<std::string>& assignments) {
  std::vector<std::string> words;
  for (const std::string& a : assignments) words.insert(words.end(), {"--set", a});
  return words;
}

/// Names of the checkpoints that are kept.
std::vector<std::string> kept(const RunFolder& run) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(run.path)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("step-")) names.push_back(name);
  }
  std::ranges::sort(names);
  return names;
}

}  // namespace

TEST_CASE("longer: under a constant rate a finished run that goes on is the longer run, bit for bit") {
  const TrainPlace place;
  RunConfig config = place.config();
  config.schedule = {.kind = ScheduleKind::constant, .peak = 0.05, .warmup_steps = 4};
  config.train.ema_decay = 0.9;
  config.train.epochs = 2;
  place.write_config(config);
  REQUIRE(run_program(place.command("run")).code == 0);
  const RunFolder run = place.run("run"), whole = place.run("whole");
  REQUIRE(fs::exists(run.summary()));
  place.folder.write("run/calibration.json", "{}");
  const Outcome longer = run_program(place.command("run", set({"train.epochs=4"})));
  CHECK(longer.code == 0);
  CHECK(longer.out.find("goes on from step 20 to 40, which was to be 20") != std::string::npos);
  CHECK(longer.out.find("learning rate is") == std::string::npos);
  CHECK_FALSE(fs::exists(run.calibration()));  // of weights that are no more
  REQUIRE(run_program(place.command("whole", set({"train.epochs=4"}))).code == 0);
  CHECK(tensors(run.last()) == tensors(whole.last()));
  CHECK(tensors(run.best()) == tensors(whole.best()));
  CHECK(metrics_without_timings(run.metrics()) == metrics_without_timings(whole.metrics()));
  CHECK(read_summary(run.summary()).steps == 40);
  CHECK(read_summary(run.summary()).test.measures.nll == read_summary(whole.summary()).test.measures.nll);
  CHECK(number_at(slurp(run.config()), "/train/epochs") == 4);
  // The same command again is that of a finished run; one of fewer epochs is refused, and changes nothing.
  const std::string last = slurp(run.last());
  CHECK(run_program(place.command("run", set({"train.epochs=4"}))).code == 0);
  CHECK(fails_with(run_program(place.command("run")), 2, run.last(), "train.epochs 4", "got 2", "--fresh"));
  CHECK(fails_with(run_program(place.command("run", set({"train.steps=39"}))), 2, "has done 40 steps", "train.steps"));
  CHECK(slurp(run.last()) == last);
  CHECK(fs::exists(run.summary()));
  // In steps, and not by whole epochs: the line of the former end is one more.
  CHECK(run_program(place.command("run", set({"train.steps=43"}))).code == 0);
  CHECK(read_summary(run.summary()).steps == 43);
  // Anything else is another run.
  CHECK(fails_with(run_program(place.command("run", set({"train.steps=50", "seed=1"}))), 2, "seed differs"));
}

TEST_CASE("longer: under a cosine the rate jumps to that of the new end, and a line says so") {
  const TrainPlace place;
  RunConfig config = place.config();
  config.train.epochs = 1;
  train(config, place.run("run").path, kQuiet);
  place.write_config(config);
  const Outcome longer = run_program(place.command("run", set({"train.epochs=2"})));
  CHECK(longer.code == 0);
  CHECK(longer.out.find("goes on from step 10 to 20, which was to be 10: the schedule has another end, and the "
                        "learning rate is 0.025 here, not 0") != std::string::npos);
}

TEST_CASE("longer: an interrupted run may be given another end, not before what it has done") {
  const TrainPlace place;
  const RunFolder run = place.run("run");
  CHECK(run_program(place.command("run", set({"train.time_limit=0.000001"}))).code == 124);
  CHECK(run_program(place.command("run", set({"train.time_limit=0.000001"}))).code == 124);
  CHECK(read_checkpoint(run.last()).state.step == 2);
  CHECK(fails_with(run_program(place.command("run", set({"train.steps=1"}))), 2, "has done 2 steps"));
  CHECK(run_program(place.command("run", set({"train.steps=3"}))).code == 0);
  CHECK(read_summary(run.summary()).steps == 3);
}

TEST_CASE("longer: results without the last checkpoint are not trained over") {
  const TrainPlace place;
  RunConfig config = place.config();
  config.train.epochs = 1;
  place.write_config(config);
  const RunFolder run = place.run("run");
  REQUIRE(run_program(place.command("run")).code == 0);
  fs::remove(run.last());
  const std::string best = slurp(run.best()), metrics = slurp(run.metrics()), summary = slurp(run.summary());
  const auto unchanged = [&] {
    return slurp(run.best()) == best && slurp(run.metrics()) == metrics && slurp(run.summary()) == summary;
  };
  // Finished: its results stay, and it cannot go on.
  const Outcome again = run_program(place.command("run"));
  CHECK(again.code == 0);
  CHECK(again.err.find("note: " + run.path.string() + " is finished, and its last checkpoint is gone") == 0);
  CHECK(unchanged());
  const auto of_epochs = [&](const std::string& n) {
    return run_program(place.command("run", set({"train.epochs=" + n})));
  };
  CHECK(fails_with(of_epochs("2"), 1, "last.safetensors is gone", "--fresh"));
  CHECK(fails_with(of_epochs("0.5"), 2, "train.epochs", "at least that", "--fresh"));
  CHECK(fails_with(run_program(place.command("run", {"--seed", "7"})), 2, "summary.json", "seed differs", "--fresh"));
  CHECK(unchanged());
  // Emptied: the results alone.
  fs::rename(run.best(), run.best() + ".kept");
  const Outcome emptied = run_program(place.command("run"));
  CHECK(emptied.code == 0);
  CHECK(emptied.err.find("its checkpoints are gone: these are the results it left (--fresh starts over") !=
        emptied.err.npos);
  CHECK(fails_with(of_epochs("2"), 1, "last.safetensors is gone", "--fresh"));
  CHECK_FALSE(fs::exists(run.best()));
  fs::rename(run.best() + ".kept", run.best());
  CHECK(unchanged());
  // Not finished: by its best weights, and by its evaluations alone.
  fs::remove(run.summary());
  CHECK(fails_with(run_program(place.command("run")), 1, "best.safetensors", "last.safetensors", "--fresh"));
  fs::remove(run.best());
  CHECK(fails_with(run_program(place.command("run")), 1, "metrics.jsonl", "last.safetensors", "--fresh"));
  CHECK(slurp(run.metrics()) == metrics);
  CHECK(run_program(place.command("run", {"--fresh"})).code == 0);
}

TEST_CASE("longer: a run killed before its first checkpoint begins again, and there is none without evaluation") {
  const TrainPlace place;
  RunConfig config = place.config();
  config.train.epochs = 400;
  config.train.checkpoint_every = 100000;
  config.train.eval_every = 1;
  place.write_config(config);
  const RunFolder run = place.run("run");
  run_program(place.command("run"), {.signal = SIGKILL, .when = [&] { return count_lines(run.metrics()) >= 5; }});
  config.train.epochs = 1;
  place.write_config(config);
  const bool evaluated = fs::exists(run.best());
  CHECK((!evaluated || fs::exists(run.last())));
  CHECK(run_program(place.command("run", set({"train.epochs=400", "train.time_limit=0.001"}))).code == 124);
}

TEST_CASE("longer: train.keep_checkpoints keeps the last n, each a checkpoint of its own") {
  const TrainPlace place;
  RunConfig config = place.config();
  config.train.epochs = 2;
  config.train.checkpoint_every = 4;
  place.write_config(config);
  const RunFolder run = place.run("run"), plain = place.run("plain");
  place.folder.write("run/step-7.safetensors.bak", "mine");
  const std::string two = "train.keep_checkpoints=2";
  REQUIRE(run_program(place.command("run", set({two}))).code == 0);
  REQUIRE(run_program(place.command("plain")).code == 0);
  CHECK(kept(plain).empty());
  CHECK(kept(run) == std::vector<std::string>{"step-16.safetensors", "step-20.safetensors", "step-7.safetensors.bak"});
  CHECK(slurp((run.path / "step-20.safetensors").string()) == slurp(run.last()));
  CHECK(tensors(run.last()) == tensors(plain.last()));
  // Another number is not another run; each is a file as any other.
  CHECK(run_program(place.command("run", set({"train.keep_checkpoints=3", "train.epochs=3"}))).code == 0);
  CHECK(kept(run) == std::vector<std::string>{"step-24.safetensors", "step-28.safetensors", "step-30.safetensors",
                                              "step-7.safetensors.bak"});
  const std::string kept_one = (run.path / "step-24.safetensors").string();
  CHECK(read_checkpoint(kept_one).state.step == 24);
  CHECK(run_program({"evaluate", kept_one, "--data-root", place.folder.path("data"), "--out", place.folder.path("e")})
            .code == 0);
  CHECK(run_program(place.command("tuned", {"--init", kept_one, "--set", "train.steps=1"})).code == 0);
  // Somebody's own of such a name is neither removed nor replaced.
  const std::string mine = place.folder.write("run/step-4.safetensors", "mine");
  CHECK(fails_with(run_program(place.command("run", set({two, "train.epochs=4"}))), 1, mine, "nothing is touched"));
  CHECK(run_program(place.command("run", {"--fresh"})).code == 0);
  CHECK(kept(run) == std::vector<std::string>{"step-4.safetensors", "step-7.safetensors.bak"});
  CHECK(slurp(mine) == "mine");
}
