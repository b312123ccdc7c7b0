#include "tests/storm/storm.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <sstream>
#include <thread>

#include "apps/common/run/checkpoint.h"
#include "apps/common/run/run_folder.h"
#include "core/error.h"
#include "core/safetensors.h"
#include "core/text.h"
#include "data/tokenizer.h"
#include "tests/common/library_json.h"

namespace sked::test {
namespace {

/// Removes what two runs of the same work may differ in, wherever it stands.
void strip(LibraryJson& json) {
  for (const char* key : {"seconds", "images_per_second", "loader", "train_seconds", "step_ms", "wait_seconds",
                          "test_seconds", "peak_memory_bytes", "peak_memory", "metrics_bytes", "command", "made_by"}) {
    if (json.is_object()) json.erase(key);
  }
  if (json.is_structured())
    for (LibraryJson& value : json) strip(value);
}

LibraryJson stripped(const std::string& text) {
  LibraryJson json = library_json(text);
  strip(json);
  return json;
}

/// Where `a` stops being `b`, as a message shows it.
std::string from_difference(const std::string& a, const std::string& b) {
  const auto at = std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first;
  return "\"" + excerpt({at, a.end() - at < 60 ? a.end() : at + 60}) + "\"";
}

std::string content_of(const std::filesystem::path& path) {
  const std::string name = path.filename().string();
  if (name.ends_with(".safetensors")) {
    const TensorFile file = load_safetensors(path.string());
    std::string all;
    for (const auto& [key, text] : file.metadata) {
      const LibraryJson state = key == "state" ? stripped(text) : LibraryJson();
      all += key + "=" + (state.is_object() ? state.dump() : text) + "\n";
    }
    for (const NamedTensor& t : file.tensors)
      all.append(t.name).append(static_cast<const char*>(t.tensor.raw()), t.tensor.bytes());
    return all;
  }
  if (name == "metrics.jsonl") {
    std::istringstream lines(slurp(path.string()));
    std::string all;
    for (std::string line; std::getline(lines, line);) all += stripped(line).dump() + "\n";
    return all;
  }
  if (name == "summary.json" || name == "results.json") return stripped(slurp(path.string())).dump();
  // These hold times and pictures of them: that they are there has to do.
  if (name == "table.md" || name == "report.html" || name == "metrics.csv") return "";
  return slurp(path.string());
}

RunConfig captioned(const RunConfig& plain) {
  RunConfig config = tiny_captioned(plain);
  config.text.pieces = 80;
  config.contrast.train_samples = 2;
  config.contrast.retrieval = 20;
  return config;
}

}  // namespace

int64_t knob(const char* name, int64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::stoll(text);
}

std::vector<std::pair<std::string, std::string>> calm() {
  return {{"GOMP_SPINCOUNT", "1000"}, {"OMP_WAIT_POLICY", "passive"}, {"PATH", "/nowhere"}};
}

std::vector<std::string> Job::command(const std::string& out) const {
  return {program, "--config", config, "--out", out, "--threads", "1"};
}

Jobs::Jobs(double epochs) {
  write_tiny_data(folder_.path("data"), {.train = 120, .test = 20});
  RunConfig config = tiny_config(folder_.path("data"));
  config.data.validation = 24;
  config.train.epochs = epochs;
  config.train.eval_every = 0.5;
  config.train.eval_samples = 4;
  config.train.checkpoint_every = 4;  // not a divisor of the 6 steps of an epoch
  config.train.ema_decay = 0.9;
  config.optimizer.clip_norm = 5;
  add({.program = "train", .runs = {""}, .config = folder_.write("train.json", config_text(config))});
  if (can_tokenize())
    add({.program = "contrast",
         .runs = {""},
         .config = folder_.write("contrast.json", config_text(captioned(config)))});
  const LibraryJson plan = {{"base", library_json(config_text(config))},
                            {"settings", {{"s", LibraryJson::object()}}},
                            {"heads", {{"DET", {{"head.kind", "det"}}}, {"XL", LibraryJson::object()}}},
                            {"seeds", {0}}};
  add({.program = "replicate",
       .runs = {"s/DET/seed-0", "s/XL/seed-0"},
       .config = folder_.write("plan.json", plan.dump())});
}

void Jobs::add(Job job) {
  const std::string out = folder_.path("whole-" + job.program);
  const auto start = std::chrono::steady_clock::now();
  const Outcome outcome = run_program(job.command(out), {.environment = calm()});
  job.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  require(outcome.code == 0, "storm", job.program, " ended with ", outcome.code, ": ", outcome.err);
  job.whole = results_of(out);
  jobs_.push_back(std::move(job));
}

Results results_of(const std::string& out) {
  Results results;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(out)) {
    const std::string file = entry.path().filename().string();
    // Called after the time of the start; tests/apps/events.cpp looks into these.
    if (!entry.is_regular_file() || file.starts_with("events.out.tfevents.")) continue;
    const std::string name = std::filesystem::relative(entry.path(), out).string();
    try {
      results[name] = content_of(entry.path());
    } catch (const std::exception& error) {
      results[name] = std::string("cannot be read: ") + error.what();
    }
  }
  return results;
}

std::string difference_of(const Results& whole, const Results& got) {
  std::string text;
  for (const auto& [name, content] : whole) {
    const auto at = got.find(name);
    if (at == got.end())
      text += name + " is missing; ";
    else if (at->second != content)
      text += name + " has " + from_difference(at->second, content) + ", expected " +
              from_difference(content, at->second) + "; ";
  }
  for (const auto& [name, content] : got)
    if (!whole.contains(name)) text += name + " is left over; ";
  return text;
}

std::vector<int64_t> steps_of(const Job& job, const std::string& out, std::string& wrong) {
  std::vector<int64_t> steps;
  for (const std::string& run : job.runs) {
    const RunFolder folder{out + "/" + run};
    steps.push_back(-1);
    try {
      if (std::filesystem::exists(folder.best())) load_safetensors(folder.best());
      if (!std::filesystem::exists(folder.last())) continue;
      const TrainerState state = read_checkpoint(folder.last()).state;
      steps.back() = state.step;
      if (static_cast<int64_t>(std::filesystem::file_size(folder.metrics())) < state.metrics_bytes)
        wrong += folder.metrics() + " is shorter than its checkpoint says; ";
    } catch (const std::exception& error) {
      wrong += std::string(error.what()) + "; ";
    }
  }
  return steps;
}

std::string two_at_a_time(int64_t count, const std::function<std::string(int64_t)>& f) {
  std::atomic<int64_t> next{0};
  std::mutex held;
  std::string all;
  const auto work = [&] {
    for (int64_t i; (i = next++) < count;) {
      const std::string wrong = f(i);
      const std::lock_guard lock(held);
      if (!wrong.empty()) all += wrong + "\n";
    }
  };
  std::thread other(work);
  work();
  other.join();
  return all;
}

}  // namespace sked::test
