#include "tests/apps/support.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <sstream>
#include <thread>

#include "core/allocator.h"
#include "core/error.h"
#include "core/rng.h"
#include "core/safetensors.h"
#include "tests/common/library_json.h"

namespace sked::test {
namespace {

constexpr int kSide = 8;

std::string big_endian(uint32_t value) {
  return {static_cast<char>(value >> 24), static_cast<char>(value >> 16), static_cast<char>(value >> 8),
          static_cast<char>(value)};
}

std::string idx_images(int count, uint64_t stream) {
  std::string bytes =
      big_endian(0x803) + big_endian(static_cast<uint32_t>(count)) + big_endian(kSide) + big_endian(kSide);
  Rng rng({1, stream, 0});
  for (int i = 0; i < count; ++i) {
    const int label = i % 10;
    for (int y = 0; y < kSide; ++y) {
      for (int x = 0; x < kSide; ++x) {
        const bool stripe = (label < 5 ? x : y) % 2 == 0;
        bytes.push_back(static_cast<char>(rng.below(50) + (stripe ? 40u * static_cast<uint32_t>(label % 5 + 1) : 0)));
      }
    }
  }
  return bytes;
}

std::string idx_labels(int count, int last) {
  std::string bytes = big_endian(0x801) + big_endian(static_cast<uint32_t>(count));
  for (int i = 0; i < count; ++i) bytes.push_back(static_cast<char>(i % 10));
  bytes.back() = static_cast<char>(last);
  return bytes;
}

std::string read_and_close(FILE* file) {
  std::string text;
  std::rewind(file);
  char buffer[4096];
  while (const size_t count = std::fread(buffer, 1, sizeof buffer, file)) text.append(buffer, count);
  std::fclose(file);
  return text;
}

/// This process's environment with other values of some variables.
std::vector<std::string> environment_with(const std::vector<std::pair<std::string, std::string>>& changed) {
  std::vector<std::string> variables;
  for (char** at = environ; *at != nullptr; ++at) {
    const std::string variable = *at;
    const bool other =
        std::ranges::none_of(changed, [&](const auto& c) { return variable.starts_with(c.first + "="); });
    if (other) variables.push_back(variable);
  }
  for (const auto& [name, value] : changed) variables.push_back(name + "=" + value);
  return variables;
}

/// Waits for `child`, and sends it the signal of `limits` once.
Outcome wait_for(pid_t child, const RunLimits& limits) {
  int status = 0;
  rusage used{};
  bool sent = limits.signal == 0;
  while (wait4(child, &status, sent ? 0 : WNOHANG, &used) == 0) {
    if (!sent && limits.when()) {
      kill(child, limits.signal);
      sent = true;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  Outcome outcome;
  outcome.killed = WIFSIGNALED(status);
  outcome.code = outcome.killed ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  outcome.peak_bytes = 1024 * used.ru_maxrss;
  return outcome;
}

}  // namespace

void write_tiny_data(const std::string& root, const TinyData& data) {
  const std::string folder = root + "/fashion-mnist/";
  std::filesystem::create_directories(folder);
  const auto write = [&](const std::string& name, const std::string& bytes) {
    std::ofstream(folder + name, std::ios::binary) << bytes;
  };
  write("train-images-idx3-ubyte", idx_images(data.train, 1));
  write("train-labels-idx1-ubyte", idx_labels(data.train, data.worst_label));
  write("t10k-images-idx3-ubyte", idx_images(data.test, 2));
  write("t10k-labels-idx1-ubyte", idx_labels(data.test, 9));
}

RunConfig tiny_config(const std::string& root) {
  RunConfig c;
  c.data.root = root;
  c.data.validation = 40;
  c.data.train_pipeline = "random_crop(8,1)|value_range(-1,1)";
  c.model.name = "resnet-cifar";
  c.model.blocks = {1, 1};
  c.model.base_width = 4;
  c.head.kind = HeadKind::het_xl;
  c.head.noise.rank = 2;
  c.head.train_samples = 4;
  c.head.test_samples = 8;
  c.head.temperature.learn = true;
  c.schedule.peak = 0.05;
  c.train.batch_size = 16;
  c.train.epochs = 3;
  c.train.log_every = 1;
  return c;
}

namespace {

int stand_in_recordings = 0, stand_in_replays = 0;

class Repeated final : public Recording {
 public:
  explicit Repeated(std::function<void()> f) : f_(std::move(f)) { ++stand_in_recordings; }
  void replay(uint64_t) override {
    ++stand_in_replays;
    const MemoryPool::Scope scope(pool_);
    f_();
  }

 private:
  std::function<void()> f_;
  MemoryPool pool_{allocator(Device::cpu)};
};

}  // namespace

StandInRecorder::StandInRecorder() {
  stand_in_recordings = stand_in_replays = 0;
  register_recorder(Device::cpu, [](uint64_t, const std::function<void()>& f) -> std::unique_ptr<Recording> {
    return std::make_unique<Repeated>(f);
  });
}
StandInRecorder::~StandInRecorder() { register_recorder(Device::cpu, nullptr); }
int StandInRecorder::recordings() const { return stand_in_recordings; }
int StandInRecorder::replays() const { return stand_in_replays; }

RunConfig tiny_captioned(RunConfig config) {
  config.task = TaskKind::contrastive;
  config.captions.templates = "photo";
  config.text.context = 24;
  config.text.width = 16;
  config.text.depth = 1;
  config.text.heads = 2;
  config.text.pieces = 120;
  config.contrast.kind = ContrastKind::het_xl;
  config.contrast.width = 16;
  config.contrast.noise.rank = 2;
  config.contrast.train_samples = 4;
  config.contrast.retrieval = 40;
  config.optimizer.kind = OptimizerKind::adamw;
  config.schedule.peak = 0.003;
  return config;
}

TrainPlace::TrainPlace() {
  write_tiny_data(folder.path("data"));
  write_config(config());
}

void TrainPlace::write_config(const RunConfig& config) const { folder.write("run.json", config_text(config)); }

std::vector<std::string> TrainPlace::command(const std::string& run, const std::vector<std::string>& more) const {
  std::vector<std::string> words{"train",     "--config", folder.path("run.json"), "--out", folder.path(run),
                                 "--threads", "1"};
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

std::string build_folder() {
  return std::filesystem::read_symlink("/proc/self/exe").parent_path().parent_path().string();
}

Outcome run_program(const std::vector<std::string>& arguments, const RunLimits& limits) {
  std::vector<std::string> words = arguments;
  // The CPU unless a test says otherwise: what runs bit for bit alike, and without a note about a missing GPU.
  if (words[0] != "scale" && std::find(words.begin(), words.end(), "--device") == words.end())
    words.insert(words.end(), {"--device", "cpu"});
  words[0] = build_folder() + "/" + words[0];
  require(std::filesystem::exists(words[0]), "test", "expected the program ", words[0], " to be built");
  if (limits.ranks > 0) {
    const std::vector<std::string> starter = mpirun_words(limits.ranks);
    words.insert(words.begin(), starter.begin(), starter.end());
  }
  if (limits.address_bytes > 0) {  // by a shell: this process may be above it already
    const std::string limit = "ulimit -v " + std::to_string(limits.address_bytes >> 10) + "; exec \"$0\" \"$@\"";
    words.insert(words.begin(), {"/bin/sh", "-c", limit});
  }
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  std::vector<std::string> variables = environment_with(limits.environment);
  std::vector<char*> envp;
  for (std::string& variable : variables) envp.push_back(variable.data());
  envp.push_back(nullptr);
  FILE* out = limits.stdout_file.empty() ? std::tmpfile() : std::fopen(limits.stdout_file.c_str(), "r+");
  FILE* err = std::tmpfile();
  require(out != nullptr && err != nullptr, "test", "cannot make a temporary file");
  // A signal that comes before the program is there must not meet doctest's handlers.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  const pid_t child = fork();
  if (child == 0) {
    for (const int s : {SIGINT, SIGTERM, SIGHUP}) std::signal(s, SIG_DFL);
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    dup2(fileno(out), STDOUT_FILENO);
    dup2(fileno(err), STDERR_FILENO);
    if (limits.file_bytes > 0) {
      const rlimit limit{limits.file_bytes, limits.file_bytes};
      setrlimit(RLIMIT_FSIZE, &limit);
    }
    for (const int descriptor : limits.closed) close(descriptor);
    execvpe(argv[0], argv.data(), envp.data());
    dprintf(STDERR_FILENO, "cannot start %s: %s\n", argv[0], std::strerror(errno));
    _exit(127);
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  require(child >= 0, "test", "cannot fork");
  Outcome outcome = wait_for(child, limits);
  if (limits.stdout_file.empty())
    outcome.out = read_and_close(out);
  else
    std::fclose(out);
  outcome.err = read_and_close(err);
  return outcome;
}

Outcome mpirun(int64_t ranks, const std::vector<std::string>& arguments, RunLimits limits) {
  limits.ranks = ranks;
  limits.environment.emplace_back("OMP_NUM_THREADS", "1");
  return run_program(arguments, limits);
}

std::vector<pid_t> processes_of(const std::string& program, const std::string& word) {
  std::vector<pid_t> ids;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const std::string name = entry.path().filename().string();
    pid_t id = 0;
    const auto end = std::from_chars(name.data(), name.data() + name.size(), id);
    if (end.ec != std::errc() || end.ptr != name.data() + name.size()) continue;
    const std::string words = slurp((entry.path() / "cmdline").string());
    if (words.find(word + '\0') != std::string::npos && words.substr(0, words.find('\0')).ends_with("/" + program))
      ids.push_back(id);
  }
  std::ranges::sort(ids);
  return ids;
}

std::string train_run(const TemporaryFolder& folder, RunConfig config, const std::string& name) {
  config.train.steps = 2;
  config.train.eval_samples = config.head.test_samples = 2;
  folder.write(name + ".json", config_text(config));
  const Outcome outcome =
      run_program({"train", "--config", folder.path(name + ".json"), "--out", folder.path(name), "--threads", "1"});
  require(outcome.code == 0, "train_run", outcome.err);
  return folder.path(name);
}

std::map<std::string, std::vector<float>> tensors(const std::string& path) {
  std::map<std::string, std::vector<float>> all;
  for (const auto& [name, tensor] : load_safetensors(path).tensors) all[name] = tensor.to_vector<float>();
  return all;
}

bool one_error_line(const Outcome& outcome) {
  const bool one = outcome.err.starts_with("error: ") && std::count(outcome.err.begin(), outcome.err.end(), '\n') == 1;
  if (!one) MESSAGE("stderr is: " << outcome.err);
  return one;
}

size_t count_lines(const std::string& path) {
  const std::string text = slurp(path);
  return static_cast<size_t>(std::count(text.begin(), text.end(), '\n'));
}

namespace {

LibraryJson value_at(const std::string& json, const std::string& pointer) {
  const auto whole = library_json(json);
  const LibraryJson::json_pointer at(pointer);
  return whole.contains(at) ? whole.at(at) : LibraryJson();
}

}  // namespace

std::string json_at(const std::string& json, const std::string& pointer) {
  const auto value = value_at(json, pointer);
  return value.is_null() ? "" : value.dump();
}

double number_at(const std::string& json, const std::string& pointer) { return value_at(json, pointer).get<double>(); }

std::string text_at(const std::string& json, const std::string& pointer) {
  return value_at(json, pointer).get<std::string>();
}

size_t size_at(const std::string& json, const std::string& pointer) { return value_at(json, pointer).size(); }

std::string metrics_without_timings(const std::string& path) {
  std::istringstream lines(slurp(path));
  std::string text;
  for (std::string line; std::getline(lines, line);) {
    auto record = library_json(line);
    record.erase("seconds");
    record.erase("images_per_second");
    record.erase("loader");
    text += record.dump() + "\n";
  }
  return text;
}

}  // namespace sked::test
