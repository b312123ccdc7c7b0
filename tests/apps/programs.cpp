// The real binaries: exit codes, one line per error, stopping and going on, disks and files that fail.

#include <doctest/doctest.h>
#include <signal.h>

#include <algorithm>
#include <cstring>

#include "apps/common/run/checkpoint.h"
#include "apps/common/run/run_folder.h"
#include "core/error.h"
#include "tests/apps/support.h"

using namespace sked;
using namespace sked::test;

namespace {

/// A configuration that takes long enough to be stopped in the middle of its second epoch.
RunConfig long_config(const std::string& root) {
  RunConfig config = tiny_config(root);
  config.model.base_width = 16;
  config.train.epochs = 10;
  config.train.checkpoint_every = 7;  // not a divisor of the 10 steps of an epoch
  config.train.ema_decay = 0.9;
  config.optimizer.clip_norm = 5;
  return config;
}

/// Equal bit for bit, but for the metadata, which holds timings.
bool same_tensors(const std::string& a, const std::string& b) {
  const TensorFile left = load_safetensors(a), right = load_safetensors(b);
  if (left.tensors.size() != right.tensors.size()) return false;
  return std::equal(left.tensors.begin(), left.tensors.end(), right.tensors.begin(), [](const auto& x, const auto& y) {
    return x.name == y.name && x.tensor.shape() == y.tensor.shape() &&
           std::memcmp(x.tensor.raw(), y.tensor.raw(), x.tensor.bytes()) == 0;
  });
}

void check_same_run(const RunFolder& a, const RunFolder& b) {
  CHECK(metrics_without_timings(a.metrics()) == metrics_without_timings(b.metrics()));
  CHECK(same_tensors(a.last(), b.last()));
  CHECK(same_tensors(a.best(), b.best()));
  CHECK(json_at(slurp(a.summary()), "/test") == json_at(slurp(b.summary()), "/test"));
}

/// Stops a run by `signal` once it has logged `lines` lines.
Outcome stop(const TrainPlace& place, const std::string& run, int signal, size_t lines) {
  const auto ready = [&] { return count_lines(place.run(run).metrics()) >= lines; };
  return until_stopped(place.run(run).path, "summary.json",
                       [&] { return run_program(place.command(run), {.signal = signal, .when = ready}); });
}

}  // namespace

TEST_CASE("train: an instruction that the processor has not is said in one line") {
  const TrainPlace place;
  const Outcome outcome = stop(place, "illegal", SIGILL, 3);
  CHECK(fails_with(outcome, 1, "this processor", "ARCH="));
}

TEST_CASE("train: killed in the middle of an epoch and resumed, it ends as if never stopped") {
  TrainPlace place;
  place.write_config(long_config(place.folder.path("data")));
  REQUIRE(run_program(place.command("whole")).code == 0);
  const RunFolder run = place.run("killed");
  REQUIRE(stop(place, "killed", SIGKILL, 27).code == 128 + SIGKILL);
  REQUIRE(std::filesystem::exists(run.last()));
  REQUIRE_FALSE(std::filesystem::exists(run.summary()));
  const int64_t step = read_checkpoint(run.last()).state.step;
  CHECK(step % 10 != 0);  // the middle of an epoch
  place.folder.write("killed/last.safetensors.123.0.tmp", "what a kill in mid-write leaves");
  const Outcome resumed = run_program(place.command("killed"));
  CHECK(resumed.code == 0);
  CHECK(resumed.out.find("goes on from step " + std::to_string(step)) != std::string::npos);
  check_same_run(place.run("whole"), run);
  CHECK(std::distance(std::filesystem::directory_iterator(run.path), {}) == 7);
}

TEST_CASE("train: Ctrl-C writes a checkpoint, exits 130, and the run goes on from there") {
  TrainPlace place;
  RunConfig config = long_config(place.folder.path("data"));
  config.train.checkpoint_every = 1000;
  place.write_config(config);
  REQUIRE(run_program(place.command("whole")).code == 0);
  const Outcome stopped = stop(place, "stopped", SIGINT, 13);
  CHECK(stopped.code == 130);
  CHECK(stopped.err.empty());
  REQUIRE(std::filesystem::exists(place.run("stopped").last()));
  CHECK(read_checkpoint(place.run("stopped").last()).state.step >= 12);
  CHECK(run_program(place.command("stopped")).code == 0);
  check_same_run(place.run("whole"), place.run("stopped"));
}

TEST_CASE("programs: --help explains and exits 0; wrong usage exits 2 with one line") {
  for (const std::string program : {"train", "evaluate"}) {
    const Outcome help = run_program({program, "--help"});
    CHECK(help.code == 0);
    CHECK(help.err.empty());
    for (const char* word : {"--config", "--set", "--device", "--deterministic", "--threads", "--seed", "--out",
                             "--data-root", "Example:"})
      CHECK_MESSAGE(help.out.find(word) != std::string::npos, word);
  }
  const TrainPlace place;
  CHECK(fails_with(run_program({"train"}), 2, "--config"));
  CHECK(fails_with(run_program({"train", "--confg", "x"}), 2, "--confg"));
  CHECK(fails_with(run_program({"evaluate"}), 2, "checkpoint"));
  CHECK(fails_with(run_program({"evaluate", place.folder.path("nothing")}), 2, "nothing"));
  CHECK(fails_with(run_program(place.command("run", {"--device", "tpu"})), 2, "tpu"));
  CHECK(fails_with(run_program(place.command("run", {"--threads", "0"})), 2, "threads"));
  CHECK(fails_with(run_program(place.command("run", {"--seed", "-1"})), 2, "seed"));
  CHECK(fails_with(run_program(place.command("run", {"--set", "head.knd=het"})), 2, "head.knd", "head.kind?"));
  CHECK(fails_with(run_program(place.command("run", {"--set", "data.name=mnist"})), 2, "mnist", "fashion-mnist"));
  CHECK(fails_with(run_program(place.command("run", {"--set", "head.rank=9"})), 2, "rank"));
  CHECK(fails_with(run_program({"train", "--config", place.folder.path("none.json")}), 1, "none.json"));
  place.folder.write("bad.json", "{\"seed\": }");
  CHECK(fails_with(run_program({"train", "--config", place.folder.path("bad.json")}), 2, "bad.json:1:10"));
  CHECK_FALSE(std::filesystem::exists(place.run("run").path));
}

TEST_CASE("programs: results replace results of before, and nobody else's files") {
  const TrainPlace place;
  const std::string run = place.run("run").path;
  REQUIRE(run_program(place.command("run")).code == 0);
  const std::string image = place.folder.write("image.pgm", "P5 8 8 255 " + std::string(64, 'x'));
  place.folder.write("plan.json", R"({"base": )" + config_text(place.config()) +
                                      R"(, "heads": {"A": {"head.kind": "det"}}, "seeds": [0]})");
  const std::vector<std::string> evaluate{"evaluate", run, "--out", place.folder.path("e")},
      predict{"predict", run, image, "--json", place.folder.path("p/answers.json")},
      scale{"scale", "--width", "8", "--classes", "10", "--rank", "2", "--out", place.folder.path("s")},
      bench{"bench", "kernels", "--only", "layer_norm", "--rounds", "1", "--out", place.folder.path("b/bench.json")},
      replicate{"replicate", "--config",     place.folder.path("plan.json"), "--out", place.folder.path("r"),
                "--set",     "train.steps=1"};
  const std::vector<std::pair<std::string, std::vector<std::string>>> stories{
      {"e/evaluation.json", evaluate}, {"p/answers.json", predict}, {"s/scale.json", scale},
      {"s/table.md", scale},           {"s/parameters.svg", scale}, {"b/bench.json", bench},
      {"r/results.json", replicate},   {"r/table.md", replicate},   {"r/report.html", replicate}};
  for (const auto& [file, command] : stories) {
    CAPTURE(file);
    for (const std::string mine : {"mine", "{\"mine\": 1}", "[1]"}) {
      place.folder.write(file, mine);
      CHECK(fails_with(run_program(command), 1, file, "not touched"));
      CHECK(slurp(place.folder.path(file)) == mine);
      CHECK(std::distance(std::filesystem::directory_iterator(place.folder.path(file.substr(0, 1))), {}) == 1);
    }
    place.folder.write(file, "");  // nothing is lost
    for (int i = 0; i < 2; ++i) CHECK(run_program(command).code == 0);
    std::filesystem::remove_all(place.folder.path(file.substr(0, 1)));
  }
}

TEST_CASE("programs: a full stdout is an error, after the work is done") {
  const RunLimits full{.stdout_file = "/dev/full"};
  for (const std::string program :
       {"train", "evaluate", "predict", "contrast", "features", "replicate", "scale", "bench"})
    CHECK_MESSAGE(fails_with(run_program({program, "--help"}, full), 1, "stdout", "No space left"), program);
  CHECK(run_program({"train", "--help"}, {.closed = {1}}).code == 0);
  const TrainPlace place;
  CHECK(fails_with(run_program(place.command("run"), full), 1, "stdout"));
  CHECK(std::filesystem::exists(place.run("run").summary()));
  CHECK(fails_with(run_program({"evaluate", place.run("run").path}, full), 1, "stdout"));
  place.folder.write("image.pgm", "P5 8 8 255 " + std::string(64, 'x'));
  const std::vector<std::string> predict{"predict", place.run("run").path, place.folder.path("image.pgm")};
  CHECK(run_program(predict).code == 0);
  CHECK(fails_with(run_program(predict, full), 1, "stdout"));
}

TEST_CASE("programs: --device cuda where there is none says so and exits 1") {
  const TrainPlace place;
  const Outcome outcome = run_program(place.command("run", {"--device", "cuda"}));
  if (outcome.code == 0) return skip("a GPU is usable here");
  CHECK(fails_with(outcome, 1, "--device cuda"));
}

TEST_CASE("programs: damaged data is refused with one line") {
  const TrainPlace place;
  const std::string folder = place.folder.path("data/fashion-mnist/");
  const std::string labels = slurp(folder + "train-labels-idx1-ubyte");
  place.folder.write("data/fashion-mnist/train-labels-idx1-ubyte", labels.substr(0, labels.size() - 1));
  CHECK(fails_with(run_program(place.command("run")), 1, "train-labels-idx1-ubyte", "199"));
  write_tiny_data(place.folder.path("data"), {.worst_label = 10});
  CHECK(fails_with(run_program(place.command("run")), 1, "train-labels-idx1-ubyte", "10"));
  write_tiny_data(place.folder.path("data"), {.train = 100});
  place.folder.write("data/fashion-mnist/train-labels-idx1-ubyte", labels);
  CHECK(fails_with(run_program(place.command("run")), 1, "fashion-mnist", "100", "200"));
  std::filesystem::remove_all(folder);
  CHECK(fails_with(run_program(place.command("run")), 1, "make data"));
}

TEST_CASE("programs: folders that cannot be written") {
  const TrainPlace place;
  std::vector<std::string> command = place.command("run");
  command[4] = "/proc/skedastic/run";
  CHECK(fails_with(run_program(command), 1, "/proc/skedastic", "cannot create"));
  place.folder.write("file", "a file where a folder should be");
  CHECK(fails_with(run_program(place.command("file")), 1, "file"));
}

TEST_CASE("programs: a disk that fills up loses nothing that was there") {
  TrainPlace place;
  place.write_config(long_config(place.folder.path("data")));
  // The checkpoint (about 80 kB) does not fit, the metrics do.
  const Outcome first = run_program(place.command("run"), {.file_bytes = 20000});
  CHECK(fails_with(first, 1, "cannot write", "File too large"));
  CHECK_FALSE(std::filesystem::exists(place.run("run").last()));
  for (const auto& entry : std::filesystem::directory_iterator(place.run("run").path))
    CHECK(entry.path().extension() != ".tmp");
  CHECK(run_program(place.command("run")).code == 0);  // with room again

  // The other way round: metrics.jsonl is what does not fit, and ends with a whole line.
  RunConfig config = tiny_config(place.folder.path("data"));
  config.model.base_width = 1;
  config.model.blocks = {1};
  config.head.kind = HeadKind::det;
  config.train.epochs = 100;
  config.train.eval_every = 0;
  config.train.checkpoint_every = 1000000;
  place.write_config(config);
  CHECK(fails_with(run_program(place.command("lines"), {.file_bytes = 10000}), 1, "metrics.jsonl", "File too large"));
  const std::string text = slurp(place.run("lines").metrics());
  CHECK(text.size() > 9000);
  CHECK(text.back() == '\n');
}

TEST_CASE("programs: a damaged checkpoint is refused and left as it is") {
  const TrainPlace place;
  REQUIRE(run_program(place.command("run")).code == 0);
  const RunFolder run = place.run("run");
  const std::string whole = slurp(run.last());
  const auto refused = [&](const std::string& bytes) {
    place.folder.write("run/last.safetensors", bytes);
    const Outcome train = run_program(place.command("run"));
    CHECK(fails_with(train, 1, "last.safetensors"));
    CHECK(fails_with(run_program({"evaluate", run.last()}), 1, "last.safetensors"));
    CHECK(slurp(run.last()) == bytes);
  };
  refused(whole.substr(0, whole.size() / 2));
  refused("");
  refused(std::string(8, '\xff') + whole.substr(8));
  std::string renamed = whole;
  renamed.replace(renamed.find("\"config\""), 8, "\"cnofig\"");
  refused(renamed);
}

TEST_CASE("evaluate: repeats the summary's numbers, and measures the rest") {
  const TrainPlace place;
  REQUIRE(run_program(place.command("run")).code == 0);
  const RunFolder run = place.run("run");
  const auto evaluate = [&](const std::vector<std::string>& more) {
    std::vector<std::string> words{"evaluate", run.path.string(), "--threads",
                                   "1",        "--out",           place.folder.path("evaluation")};
    words.insert(words.end(), more.begin(), more.end());
    const Outcome outcome = run_program(words);
    CHECK_MESSAGE(outcome.code == 0, outcome.err);
    return slurp(place.folder.path("evaluation/evaluation.json"));
  };
  const std::string summary = slurp(run.summary());
  CHECK(text_at(summary, "/device") == "cpu");
  CHECK(text_at(summary, "/precision") == "f32");
  CHECK(json_at(evaluate({}), "/test") == json_at(summary, "/test"));
  CHECK(number_at(evaluate({"--split", "validation"}), "/validation/count") == 40);
  CHECK(number_at(evaluate({"--samples", "0"}), "/test/nll") != number_at(summary, "/test/nll"));
  const std::string few = evaluate({"--few-shot", "fashion-mnist"});
  CHECK(size_at(few, "/few_shot/results") == 3);  // 1, 5 and 10 shots: 25 images of a class are not there
  CHECK(number_at(few, "/few_shot/results/2/shots") == 10);
  CHECK(number_at(few, "/few_shot/results/2/accuracy") > 0.1);
  CHECK(fails_with(run_program({"evaluate", run.path.string(), "--ood", "fashion-mnist"}), 2, "--ood fashion-mnist"));
  CHECK(fails_with(run_program({"evaluate", run.path.string(), "--split", "best"}), 2, "--split"));
  CHECK(fails_with(run_program({"evaluate", place.folder.path()}), 1, "not a run folder"));
}
