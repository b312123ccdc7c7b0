// --profile: a trace of some steps that Perfetto reads, and the table of one of them.

#include "apps/common/run/trace.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>

#include "apps/common/config/interrupt.h"
#include "core/file.h"
#include "core/kernels/memory.h"
#include "tests/apps/support.h"
#include "tests/common/library_json.h"

namespace sked::test {
namespace {

/// Spans and calls of a trace by name, each within the spans that hold it: `step/forward/conv2d_forward`. Fails where
/// one overlaps another without lying in it.
std::map<std::string, int64_t> paths(const LibraryJson& trace) {
  struct Open {
    std::string path;
    double end;
  };
  std::vector<Open> open;
  std::map<std::string, int64_t> count;
  double last = 0;
  for (const auto& event : trace["traceEvents"]) {
    if (event["ph"] != "X") continue;
    const double begin = event["ts"], end = begin + event["dur"].get<double>();
    constexpr double kRounding = 1e-4;  // microseconds: a tenth of a nanosecond
    CHECK(begin >= last);
    last = begin;
    while (!open.empty() && open.back().end <= begin + kRounding) open.pop_back();
    if (!open.empty()) CHECK(end <= open.back().end + kRounding);
    const std::string name = event["name"], path = open.empty() ? name : open.back().path + "/" + name;
    ++count[path];
    open.push_back({path, end});
  }
  return count;
}

LibraryJson trace_in(const std::string& file) { return library_json(slurp(file)); }

}  // namespace

TEST_CASE("trace: train --profile looks at ten steps, an evaluation and a checkpoint, and changes nothing") {
  const TrainPlace place;
  const std::string file = place.folder.path("trace.json");
  const Outcome outcome = run_program(place.command("a", {"--profile", file}));
  REQUIRE(outcome.code == 0);
  REQUIRE(run_program(place.command("b")).code == 0);
  CHECK(tensors(place.run("a").last()) == tensors(place.run("b").last()));

  const auto trace = trace_in(file);
  const auto count = paths(trace);
  for (const char* const span : {"step", "step/wait for data", "step/forward", "step/backward", "step/optimizer"})
    CHECK(count.at(span) == Trace::kSteps);
  CHECK(count.at("evaluation") == 1);
  CHECK(count.at("step/optimizer/sgd_step") == Trace::kSteps);
  CHECK(count.at("step/forward/conv2d_forward") == count.at("step/backward/conv2d_backward_weight"));
  CHECK(count.contains("evaluation/conv2d_forward"));
  int64_t checkpoints = 0;
  for (const auto& [path, n] : count)
    if (path.ends_with("checkpoint")) checkpoints += n;
  CHECK(checkpoints == 1);
  const auto& events = trace["traceEvents"];
  const auto call = std::ranges::find_if(events, [](const auto& e) { return e["name"] == "conv2d_forward"; });
  REQUIRE(call != events.end());
  CHECK((*call)["args"]["operand_bytes"] > 0);
  CHECK((*call)["args"]["GFLOP"] > 0);
  CHECK(trace["otherData"]["calls_left_out"] == 0);
  for (const char* const word : {"of 10 steps", "conv2d_backward_weight", "wait for data", kBetweenKernels, "total"})
    CHECK(outcome.out.find(word) != std::string::npos);

  // A finished run makes no step: the trace of before stays.
  const Outcome again = run_program(place.command("a", {"--profile", file}));
  CHECK(again.code == 0);
  CHECK(again.out.find("no step was made") != std::string::npos);
  CHECK(trace_in(file) == trace);
}

TEST_CASE("trace: it is there when a run is stopped, and refused before one where it cannot be written") {
  const TrainPlace place;
  const std::string file = place.folder.path("trace.json");
  const Outcome stopped = run_program(place.command("stopped", {"--profile", file, "--set", "train.time_limit=0.001"}));
  CHECK(stopped.code == kTimeUp);
  CHECK(stopped.out.find("profile in " + file) != std::string::npos);
  CHECK_FALSE(paths(trace_in(file)).empty());

  CHECK(
      fails_with(run_program(place.command("c", {"--profile", place.folder.path("no/trace.json")})), 1, "trace.json"));
  write_file(place.folder.path("mine.json"), "{\"mine\": 1}");
  CHECK(fails_with(run_program(place.command("c", {"--profile", place.folder.path("mine.json")})), 1, "mine.json"));
  CHECK_FALSE(std::filesystem::exists(place.run("c").path));
}

TEST_CASE("trace: which steps are looked at, and what an exception leaves") {
  const TemporaryFolder folder;
  Tensor a = Tensor::full({4}, 1);
  const auto steps_of = [&](int64_t expected, int64_t made) {
    const std::string file = folder.path(std::to_string(expected));
    std::vector<int64_t> looked;
    {
      Trace trace(file, Device::cpu);
      trace.expect(expected);
      const auto run = [&] {
        for (int64_t i = 0; i < made; ++i) {
          traced(&trace, "step", [&] {
            if (Trace::looks()) looked.push_back(i);
            traced(&trace, "checkpoint", [&] { kernel::fill(a, 1); });  // within what is looked at: a part of it
            if (i == 12) throw Interrupted();
          });
        }
      };
      if (made > 12)
        CHECK_THROWS_AS(run(), Interrupted);
      else
        run();
    }
    CHECK_FALSE(Trace::looks());
    CHECK(WorkCount::active() == nullptr);
    const auto count = paths(trace_in(file));
    CHECK(count.at("step") == std::ssize(looked));
    CHECK(count.at("step/checkpoint/fill") == std::ssize(looked));
    return looked;
  };
  CHECK(steps_of(1, 1) == std::vector<int64_t>{0});
  CHECK(steps_of(3, 3) == std::vector<int64_t>{2});
  CHECK(steps_of(100, 5) == std::vector<int64_t>{3, 4});
  CHECK(steps_of(101, 20) == std::vector<int64_t>{3, 4, 5, 6, 7, 8, 9, 10, 11, 12});
}

TEST_CASE("trace: calls beyond a number are left out and counted, and only rank 0 has one") {
  const TemporaryFolder folder;
  const std::string file = folder.path("trace.json");
  {
    Trace trace(file, Device::cpu);
    trace.expect(1);
    traced(&trace, "step", [] {
      for (int64_t i = 0; i < Trace::kMostCalls + 7; ++i)
        const WorkCount::Call call("none", Device::cpu, [] { return WorkCount::Entry{.calls = 1}; });
    });
    CHECK(trace.finish().find(std::to_string(Trace::kMostCalls + 7)) != std::string::npos);  // in its table
  }
  const auto trace = trace_in(file);
  CHECK(trace["otherData"]["calls_left_out"] == 7);
  CHECK(trace["traceEvents"].size() == Trace::kMostCalls + 2);  // the process' name, the step
  CHECK(std::filesystem::file_size(file) < 7'000'000);
  CHECK(trace_of("", Device::cpu, alone()) == nullptr);
  CHECK(trace_of(folder.path("other.json"), Device::cpu, alone()) != nullptr);
}

}  // namespace sked::test
