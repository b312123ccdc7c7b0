// What every program's command line offers: its help, the keys of a configuration, a log, and how it takes what is
// typed wrong.

#include <doctest/doctest.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>

#include "apps/common/config/listing.h"
#include "core/build.h"
#include "core/text.h"
#include "tests/apps/support.h"
#include "tests/common/files.h"

using namespace sked;
using namespace sked::test;

namespace {

const std::vector<std::string> kPrograms{"train",    "evaluate",  "predict", "contrast",
                                         "features", "replicate", "scale",   "bench"};

size_t widest(const std::string& text) {
  size_t columns = 0;
  for (const std::string_view line : lines_of(text)) columns = std::max(columns, display_width(line));
  return columns;
}

/// What a shell command leaves with: its exit status.
int status_of(const std::string& command) {
  std::signal(SIGPIPE, SIG_DFL);  // as in the shell of a user
  const int status = std::system(command.c_str());
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

}  // namespace

TEST_CASE("command line: --help fits the terminal, and has what does something for the program") {
  for (const std::string& program : kPrograms) {
    CAPTURE(program);
    for (const auto& [columns, most] : {std::pair("60", 60), {"80", 80}, {"300", 100}}) {
      const Outcome help = run_program({program, "--help"}, {.environment = {{"COLUMNS", columns}}});
      CHECK(help.code == 0);
      CHECK(help.err.empty());
      CHECK(widest(help.out) <= static_cast<size_t>(most));
      CHECK(help.out.find("Usage: build/" + program) != std::string::npos);
      const bool configured = program != "scale" && program != "bench";
      for (const char* option : {"--config FILE", "--set KEY", "--list-keys", "--print-config"})
        CHECK((help.out.find(option) != std::string::npos) == configured);
      const bool steps = program == "train" || program == "contrast" || program == "replicate" || program == "bench";
      CHECK((help.out.find("--graph auto|off") != std::string::npos) == steps);
    }
  }
  CHECK(run_program({"predict", "-h"}).code == 0);  // whatever else is required
}

TEST_CASE("command line: an option that is none is answered with the one that was meant") {
  const auto refused = [](const std::vector<std::string>& words, const std::string& part) {
    const Outcome outcome = run_program(words);
    return fails_with(outcome, 2, part, "--help");
  };
  CHECK(refused({"train", "--conf", "x"}, "--conf: no such option; did you mean --config?"));
  CHECK(refused({"predict", "--conf", "x"}, "did you mean --config?"));  // not: the checkpoint is missing
  CHECK(refused({"train", "--epoch", "3"}, "did you mean --set train.epochs=...?"));
  CHECK(refused({"train", "--batch-size=3"}, "did you mean --set train.batch_size=...?"));
  CHECK(refused({"train", "--lr", "0.1"}, "did you mean --set schedule.peak=...?"));
  CHECK(refused({"train", "--backbone", "vit-ti"}, "did you mean --set model.name=...?"));
  CHECK(refused({"train", "--output", "a"}, "did you mean --out?"));
  CHECK(refused({"train", "--xyzzy"}, "--xyzzy: no such option (see"));
  CHECK(refused({"train", "---"}, "---: no such option (see"));
  CHECK(refused({"scale", "--set", "a=b"}, "--set has no meaning here"));
  CHECK(refused({"train", "--config", "a", "--seed", "-1"}, "--seed: expected an integer, at least 0, got -1"));
  CHECK(refused({"train", "--config", "a", "--threads", "0"}, "--threads: expected an integer, 1 to 1024, got 0"));
  CHECK(refused({"train", "--config", "a", "--device", "gpu"}, "expected one of auto, cpu, cuda, got gpu"));
  CHECK(refused({"train", "--out", "a", "--out", "b"}, "--out: given twice"));
  CHECK(refused({"train", "--out=", "--config", "x"}, "--out: expected DIR behind it"));
  CHECK(refused({"train", "--config"}, "--config: expected FILE behind it"));
  CHECK(refused({"train", "--config", "a", "b"}, "not expected: b"));
  CHECK(refused({"train", "-x", "3"}, "-x: no such option"));
  CHECK(refused({"predict"}, "checkpoint is required"));
  CHECK(refused({"train", "--completion", "fish"}, "expected one of bash, zsh, got fish"));
}

TEST_CASE("command line: options stand where they like, before and behind arguments") {
  const TrainPlace place;
  REQUIRE(run_program(place.command("run", {"--set", "train.epochs=0.1"})).code == 0);
  const std::string run = place.run("run").path.string();
  const std::string image = place.folder.write("image.pgm", "P5 8 8 255 " + std::string(64, 'x'));
  const std::vector<std::vector<std::string>> orders{
      {"predict", run, image, "--set", "head.test_samples=4", "--top", "3"},
      {"predict", "--set", "head.test_samples=4", "--top", "3", run, image},
      {"predict", run, "--top=3", "--set", "head.test_samples=4", image},
      {"predict", "--set=head.test_samples=4", "--top", "3", "--", run, image}};
  const std::string first = run_program(orders.front()).out;
  CHECK_FALSE(first.empty());
  for (const auto& words : orders) CHECK(run_program(words).out == first);
}

TEST_CASE("command line: --list-keys says of each key its default, what it takes and means") {
  const std::string all = key_list("", 80);
  CHECK(widest(all) <= 80);
  CHECK(all.find("train.batch_size=128 (an integer, at least 1)\n    images of a step\n") != std::string::npos);
  CHECK(all.find("\nhead.kind=det (one of det, het, het-xl)\n") != std::string::npos);
  CHECK(all.find("text is there with task=contrastive:\ntext.vocabulary=") != std::string::npos);
  const std::string some = key_list("OPTIM", 80);
  for (const std::string_view line : lines_of(some))
    CHECK((line.starts_with("optimizer.") || line.starts_with("    ")));
  CHECK(key_list("learning rate", 80).find("schedule.peak=0.1") != std::string::npos);  // by what it means
  CHECK(run_program({"replicate", "--list-keys", "schedule"}).out == key_list("schedule", 80));
  CHECK(fails_with(run_program({"train", "--list-keys", "nonsense"}), 2, "--list-keys nonsense"));
}

TEST_CASE("command line: --print-config is the configuration and nothing else, and nothing is done") {
  const TrainPlace place;
  RunConfig expected = place.config();
  expected.train.epochs = 7, expected.seed = 11;
  const Outcome printed =
      run_program(place.command("run", {"--set", "train.epochs=7", "--seed", "11", "--print-config"}));
  CHECK(printed.code == 0);
  CHECK(printed.err.empty());
  CHECK(printed.out == config_text(expected));
  CHECK_FALSE(std::filesystem::exists(place.run("run").path));
  REQUIRE(run_program(place.command("run", {"--set", "train.epochs=0.1"})).code == 0);
  const Outcome own = run_program({"evaluate", place.run("run").path.string(), "--seed", "5", "--print-config"});
  CHECK(number_at(own.out, "/train/epochs") == 0.1);
  CHECK(number_at(own.out, "/seed") == 5);
  const std::string plan =
      place.folder.write("plan.json", R"({"base": )" + config_text(place.config()) +
                                          R"(, "heads": {"A": {"head.kind": "het"}}, "seeds": [3]})");
  const Outcome runs = run_program({"replicate", "--config", plan, "--print-config"});
  CHECK(runs.out.find("/A/seed-3\": {") != std::string::npos);
  CHECK(runs.out.find("\"kind\": \"het\"") != std::string::npos);
}

TEST_CASE("command line: --version is one line, with the version of the build") {
  const Outcome version = run_program({"bench", "--version"});
  CHECK(version.code == 0);
  CHECK(one_line_with(version.out.substr(0, version.out.size() - 1), "skedastic " + std::string(kVersion), compiler()));
  CHECK(slurp("Makefile").find("\nVERSION := " + std::string(kVersion) + "\n") != std::string::npos);
}

TEST_CASE("command line: --quiet leaves results and errors") {
  const TrainPlace place;
  const Outcome outcome = run_program(place.command("run", {"--quiet", "--set", "train.epochs=1"}));
  CHECK(outcome.code == 0);
  CHECK(outcome.out.starts_with("test: nll "));
  CHECK(outcome.err.empty());
  CHECK(one_error_line(run_program(place.command("run", {"--quiet", "--set", "train.epochs=-1"}))));
}

TEST_CASE("command line: --log has all lines, without what is drawn over") {
  const TrainPlace place;
  const std::string log = place.folder.path("log.txt");
  const Outcome first = run_program(place.command("run", {"--log", log, "--set", "train.epochs=1"}));
  CHECK(first.code == 0);
  CHECK(slurp(log) == first.out + first.err);
  const Outcome wrong = run_program(place.command("run", {"--log", log, "--set", "train.epoch=1"}));
  CHECK(slurp(log) == first.out + first.err + wrong.err);
  CHECK(fails_with(run_program(place.command("run", {"--log", place.folder.path("no/log.txt")})), 1, "no/log.txt"));
  CHECK(fails_with(run_program(place.command("other", {"--log", "/dev/full", "--set", "train.epochs=1"})), 1,
                   "/dev/full", "No space left"));
  CHECK(std::filesystem::exists(place.run("other").summary()));  // nothing is lost for it
}

TEST_CASE("command line: a reader that goes stops a training as Ctrl-C does, with a checkpoint to go on from") {
  const TrainPlace place;
  std::string command;
  for (const std::string& word : place.command("run", {"--set", "train.epochs=100000", "--device", "cpu"}))
    command += (command.empty() ? "'" + build_folder() + "/" : "'") + word + "' ";
  const std::string code = place.folder.path("code");
  CHECK(status_of("(" + command + "; echo $? > '" + code + "') | head -n 1 > '" + place.folder.path("out") + "'") == 0);
  CHECK(slurp(code) == "141\n");
  CHECK(count_lines(place.folder.path("out")) == 1);
  CHECK(std::filesystem::exists(place.run("run").last()));
  const size_t lines = count_lines(place.run("run").metrics());
  CHECK(status_of("(trap '' PIPE; " + command + " --set train.time_limit=1; echo $? > '" + code + "') | head -n 1 > '" +
                  place.folder.path("out") + "'") == 0);
  CHECK(slurp(code) == "124\n");  // who ignores SIGPIPE wants it to go on
  CHECK(count_lines(place.run("run").metrics()) > lines);
}

TEST_CASE("command line: the completion of bash knows options, their words, and keys with theirs") {
  if (status_of("bash -c true") != 0) return skip("bash is not there");
  const TemporaryFolder folder;
  folder.write("train.bash", run_program({"train", "--completion", "bash"}).out);
  const auto completed = [&](const std::vector<std::string>& words) {
    std::string line = "source '" + folder.path("train.bash") + "'; COMP_WORDS=(train";
    for (const std::string& word : words) line += " '" + word + "'";
    line += "); COMP_CWORD=" + std::to_string(words.size()) + "; _skedastic_train; echo ${COMPREPLY[*]}";
    folder.write("ask.bash", line);
    CHECK(status_of("cd '" + folder.path() + "' && bash ask.bash > answer 2> errors") == 0);
    CHECK(slurp(folder.path("errors")).find("syntax") == std::string::npos);
    return slurp(folder.path("answer"));
  };
  CHECK(completed({"--prec"}) == "--precision\n");
  CHECK(completed({"--device", ""}) == "auto cpu cuda\n");
  CHECK(completed({"--device", "=", "c"}) == "cpu cuda\n");
  CHECK(completed({"--set", "head.temperature_"}) ==
        "head.temperature_lo= head.temperature_hi= head.temperature_init=\n");
  CHECK(completed({"--set", "head.kind", "="}) == "det het het-xl\n");
  CHECK(completed({"--set", "head.kind", "=", "het"}) == "het het-xl\n");
  CHECK(completed({"--config", "ask"}) == "ask.bash\n");
}
