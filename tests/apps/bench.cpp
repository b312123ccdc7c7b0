// The benchmark keeps what it has found out, says what failed, counts a step's work, and lists a GPU's choices.

#include <doctest/doctest.h>

#include <algorithm>
#include <limits>
#include <map>

#include "apps/bench/peer.h"
#include "apps/bench/results.h"
#include "core/device.h"
#include "core/file.h"
#include "core/kernels/elementwise.h"
#include "core/kernels/softmax.h"
#include "tests/apps/support.h"
#include "tests/common/library_json.h"

using namespace sked;
using namespace sked::test;

TEST_CASE("bench: its file is written as rows and modes are known, and a row that fails costs no other") {
  const TemporaryFolder folder;
  const std::string file = folder.path("bench.json");
  const auto kept = [&] { return library_json(slurp(file))["steps"]; };
  bench::Results results(file, {{"threads", 1}}, 1e9);
  const bench::Report report = results.rows("steps");
  bench::Row row{.name = "a", .seconds = 2, .operations = 1e9};
  row.check(0.5, 0.1);
  report(row, false);
  CHECK(kept().size() == 1);
  CHECK_FALSE(kept()[0].contains("peer_modes"));
  row.peer_modes.push_back({"eager", 3.0});
  report(row, false);
  CHECK(kept().size() == 1);
  CHECK(kept()[0]["peer_modes"]["eager"] == 3.0);
  report(row, true);
  bench::Row other{.name = "b", .seconds = 1};
  other.check(0.01, 0.1);
  report(other, true);
  REQUIRE(kept().size() == 2);
  CHECK(kept()[0]["relative_error"] == 0.5);
  CHECK(kept()[0]["seconds"] == 2.0);  // timed all the same
  CHECK(kept()[0]["failed"].get<std::string>().find("expected < 0.1") != std::string::npos);
  CHECK_FALSE(kept()[1].contains("failed"));
  CHECK(one_line_with(error_of([&] { results.finish({}); }), "[bench]", "1 of its rows failed", ": a"));
  row.check(std::numeric_limits<double>::quiet_NaN(), 0.1);
  CHECK_FALSE(row.failure.empty());
  bench::Results good(file, {}, 0);
  good.rows("steps")(other, true);
  good.finish({});
}

namespace {

// Stands for peer_torch.py. Says 'ready' and each step's seconds: 8 in eager mode, 6 in a compiled one, half of it
// channels last; max-autotune ends before it is ready.
const char* const kStandIn = R"(
seconds=8
while [ $# -gt 0 ]; do
  case "$1 $2" in
    "--mode compile") seconds=6 ;;
    "--mode max-autotune") exit 1 ;;
    "--layout channels_last") seconds=$((seconds / 2)) ;;
    "--model "*) model=$2 ;;
  esac
  shift
done
echo "ready {\"torch\": \"$model\"}"
while read -r word n; do
  line=
  while [ "$n" -gt 0 ]; do line="$line $seconds"; n=$((n - 1)); done
  echo "$line"
done
)";

}  // namespace

TEST_CASE("bench: the ratio is that to the fastest of PyTorch's modes, and one that fails costs no other") {
  const TemporaryFolder folder;
  write_file(folder.path("peer.sh"), kStandIn);
  bench::Settings settings;
  settings.rounds = 2;
  settings.peer = "/bin/sh";
  settings.script = folder.path("peer.sh");
  settings.peer_modes = {"eager", "compile", "max-autotune"};
  bench::InTurn step{
      .ours = [](int) { return 1.5; }, .steps = 2, .options = {"--model", "some-net"}, .convolves = true};
  bench::Results results(folder.path("bench.json"), {}, 0);
  const bench::Report report = results.rows("steps");
  bench::Row row{.name = "a"};
  bench::time_in_turn(row, step, settings, report);
  const auto kept = library_json(slurp(folder.path("bench.json")))["steps"][0];
  CHECK(kept["seconds"] == 1.5);
  CHECK(kept["peer_modes"].size() == 6);
  CHECK(kept["peer_modes"]["eager channels_first"] == 8);
  CHECK(kept["peer_modes"]["eager channels_last"] == 4);
  CHECK(kept["peer_modes"]["compile channels_first"] == 6);
  CHECK(kept["peer_modes"]["compile channels_last"] == 3);
  CHECK(kept["peer_modes"]["max-autotune channels_last"].contains("failed"));
  CHECK(kept["peer_seconds"] == 3);
  CHECK(kept["times_faster_than_peer"] == 2);
  CHECK(kept["peer"]["torch"] == "some-net");

  step.convolves = false;
  settings.peer_modes = {"compile"};
  bench::Row without_layouts{.name = "b"};
  bench::time_in_turn(without_layouts, step, settings, report);
  REQUIRE(without_layouts.peer_modes.size() == 1);
  CHECK(without_layouts.peer_modes[0].name == "compile");
  CHECK(without_layouts.ratio == 4);

  settings.peer_modes = {"max-autotune"};
  bench::Row none{.name = "c"};
  bench::time_in_turn(none, step, settings, report);
  report(none, true);
  CHECK(none.seconds == 1.5);  // ours stays
  REQUIRE(none.peer_modes.size() == 1);
  CHECK(none.peer_modes[0].failure.find("'ready'") != std::string::npos);
  CHECK(one_line_with(error_of([&] { results.finish({}); }), "[bench]", "the peer gave no time", ": c"));
  CHECK(fails_with(run_program({"bench", "steps", "--peer-modes", "fast"}), 2, "--peer-modes", "fast"));
}

TEST_CASE("bench: a peer whose memory is too small is a result, beside what ours needs") {
  const TemporaryFolder folder;
  write_file(folder.path("peer.sh"), "echo 'ready {}'; read -r request; echo 'out of memory: 485 GB'; exit 1\n");
  const std::string file = folder.path("bench.json");
  const auto run = [&](const std::string& peer) {
    return run_program({"bench", "likelihood", "--batch", "3", "--classes", "50", "--samples", "2", "--rounds", "1",
                        "--peer", "/bin/sh", "--peer-script", peer, "--peer-modes", "eager", "--out", file});
  };
  const Outcome outcome = run(folder.path("peer.sh"));
  CHECK(outcome.code == 0);
  CHECK(outcome.out.find("out of memory: 485 GB") != std::string::npos);
  const auto row = library_json(slurp(file))["likelihood"][0];
  CHECK(row["name"] == "likelihood HET-XL B3 S2 D1024 K50");
  CHECK(row["seconds"] > 0);
  CHECK(row["memory_bytes"] > 3 * 1024 * 4);  // of the gradient of φ at least
  CHECK(row["naive_memory_bytes"] == 3 * 2 * 50 * 4);
  CHECK(row["peer_modes"]["eager"]["failed"] == "out of memory: 485 GB");
  CHECK_FALSE(row.contains("peer_seconds"));
  write_file(folder.path("mute.sh"), "exit 1\n");
  CHECK(fails_with(run(folder.path("mute.sh")), 1, "the peer gave no time"));
  CHECK(library_json(slurp(file))["likelihood"][0]["seconds"] > 0);
}

TEST_CASE("bench: --profile explains a step: kernels and what lies between them, which add up to its time") {
  const TemporaryFolder folder;
  const std::string file = folder.path("bench.json");
  for (const std::string topic : {"steps", "likelihood", "contrastive"}) {
    CAPTURE(topic);
    const Outcome outcome =
        run_program({"bench", topic, "--profile", "--only", topic == "steps" ? "ResNet-18" : "HET-XL", "--shrink", "64",
                     "--samples", "2", "--pairs", "64", "--out", file});
    REQUIRE(outcome.code == 0);
    for (const char* const column : {"share", "GFLOP/s", "operand MB", "GB/s", kBetweenKernels})
      CHECK(outcome.out.find(column) != std::string::npos);
    const auto row = library_json(slurp(file))[topic][0];
    int64_t calls = 0, bytes = 0, operations = 0;
    double seconds = 0, share = 0, last = 1e9;
    bool between = false;
    for (const auto& kernel : row["work"]) {
      CHECK(kernel["seconds"] <= last);
      last = kernel["seconds"];
      seconds += last;
      share += kernel["share"].get<double>();
      bytes += kernel["operand_bytes"].get<int64_t>();
      calls += kernel["calls"].get<int64_t>();
      operations += kernel["operations"].get<int64_t>();
      between = between || kernel["kernel"] == kBetweenKernels;
    }
    CHECK(between);
    CHECK(seconds == doctest::Approx(row["seconds"].get<double>()).epsilon(0.03));
    CHECK(share == doctest::Approx(1));
    CHECK(row["work_total"]["operand_bytes"] == bytes);
    CHECK(row["work_total"]["calls"] == calls);
    CHECK(row["work_total"]["operations"] == operations);
    CHECK(row["work_total"]["launches"] == 0);  // on the CPU
    if (topic != "steps") continue;
    const auto forward = std::find_if(row["work"].begin(), row["work"].end(),
                                      [](const auto& kernel) { return kernel["kernel"] == "conv2d_forward"; });
    REQUIRE(forward != row["work"].end());
    CHECK((*forward)["calls"] == 20);  // of one step: 17 and 3 shortcuts
    CHECK((*forward)["gflops"] > 0);
  }
  CHECK(fails_with(run_program({"bench", "--profile"}), 1, "--profile"));
}

TEST_CASE("bench: large-steps are those of ResNet-50 and ViT-B/16") {
  std::vector<std::string> names;
  bench::Settings settings;
  settings.rounds = 1;
  settings.shrink = 64;
  bench::large_step_rows(settings, [&](const bench::Row& row, bool) { names.push_back(row.name); });
  CHECK(names ==
        std::vector<std::string>{"step ResNet-50 224x224 shrunk batch 2", "step ViT-B/16 224x224 shrunk batch 2"});
}

TEST_CASE("bench: gpu-knobs needs a GPU, and lists every choice of it") {
  const TemporaryFolder folder;
  const std::string file = folder.path("bench.json");
  CHECK(fails_with(run_program({"bench", "gpu-knobs", "--device", "cpu"}), 1, "gpu-knobs", "a GPU is needed"));
  if (!is_available(Device::cuda)) return skip("no usable GPU here: its choices");
  const Outcome outcome =
      run_program({"bench", "gpu-knobs", "--device", "cuda", "--shrink", "128", "--rounds", "1", "--out", file});
  REQUIRE(outcome.code == 0);
  std::map<std::string, int> kinds;
  const auto result = library_json(slurp(file));
  for (const auto& knob : result["gpu-knobs"]) {
    ++kinds[knob["kind"]];
    CHECK((knob.contains("refused") || knob["seconds"] > 0));
  }
  CHECK(kinds["product"] >= 8 * 6);
  CHECK(kinds["convolution"] > 60);
  CHECK(kinds["tile"] == 16);
  CHECK(kinds["model.gelu"] == 2);
}

TEST_CASE("bench: what it would not look at is refused") {
  CHECK(fails_with(run_program({"bench", "kernels", "--set", "head.kind=hetxl"}), 2, "--set has no meaning here"));
  CHECK(fails_with(run_program({"bench", "contrastive", "--shrink", "64", "--rounds", "1", "--only", "nothing"}), 2,
                   "--only: no case asked for has 'nothing' in its name"));
  CHECK(fails_with(run_program({"bench", "variance", "--rounds", "1", "--only", "nothing"}), 2, "no case asked for"));
  CHECK(fails_with(run_program({"bench", "likelihood", "--peer-script", "apps/bench/peer_jax.py"}), 2, "--peer"));
  CHECK(fails_with(run_program({"bench", "likelihood", "--peer-modes", "eager"}), 2, "got none"));
  CHECK(fails_with(run_program({"bench", "likelihood", "--batch", "0"}), 2, "--batch", "0"));
  CHECK(fails_with(run_program({"bench", "likelihood", "--classes", "1"}), 2, "--classes", "1"));
}

TEST_CASE("bench: a step that disagrees with the definitions is timed all the same, and marked") {
  kernel::cross_entropy_forward.tune(Device::cpu, [](const Tensor& x, const Tensor& labels, Tensor& loss, Tensor& lse) {
    const ReferenceOnly scope;
    kernel::cross_entropy_forward(x, labels, loss, lse);
    kernel::affine(loss, loss, 2, 0);  // wrong
  });
  std::vector<bench::Row> rows;
  bench::Settings settings;
  settings.rounds = 1;
  settings.shrink = 64;
  settings.only = "ResNet-18";
  bench::step_rows(settings, [&](const bench::Row& row, bool) { rows.push_back(row); });
  kernel::cross_entropy_forward.tune(Device::cpu, nullptr);
  REQUIRE(rows.size() == 1);
  CHECK(rows[0].error == doctest::Approx(1));
  CHECK_FALSE(rows[0].failure.empty());
  CHECK(rows[0].seconds > 0);
}
