// Every kind of file that a program reads, damaged in drawn ways and given to that program: it ends with one line that
// says what is wrong, or with an answer; never by a signal, a sanitizer's report, a wait without end or all memory.
//
// The programs' own main functions are linked into this binary (under other names), and each is called in a process of
// its own, forked: a start costs a tenth of what it costs otherwise. Some mutations are given to the programs proper.

#include <doctest/doctest.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <sstream>
#include <thread>

#include "tests/common/mutate.h"
#include "tests/storm/kinds.h"
#include "tests/storm/storm.h"

extern "C" {
int main_train(int argc, char** argv);
int main_evaluate(int argc, char** argv);
int main_predict(int argc, char** argv);
int main_contrast(int argc, char** argv);
int main_replicate(int argc, char** argv);

// Sanitizers read their settings before main: an end of the process is what this looks for, a small quarantine keeps
// memory the program's own, and leaks do not matter to a process that ends.
const char* __asan_default_options() {
  return "exitcode=99:detect_leaks=0:quarantine_size_mb=8:allocator_may_return_null=1";
}
const char* __ubsan_default_options() { return "exitcode=99:print_stacktrace=1"; }
}

using namespace sked;
using namespace sked::test;

namespace {

constexpr double kMostSeconds = 10;
constexpr int64_t kMostBytes = int64_t{1} << 30;
constexpr int64_t kProper = 50;  // one in so many mutations is given to the program proper

using Main = int (*)(int, char**);
Main main_of(const std::string& program) {
  return program == "train"      ? main_train
         : program == "evaluate" ? main_evaluate
         : program == "predict"  ? main_predict
         : program == "contrast" ? main_contrast
                                 : main_replicate;
}

std::string in_folder(std::string text, const std::string& folder) {
  for (size_t at = 0; (at = text.find('@', at)) != std::string::npos; at += folder.size()) text.replace(at, 1, folder);
  return text;
}

void put(const std::string& path, const std::string& bytes) {
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  std::ofstream(path, std::ios::binary) << bytes;
}

/// One mutation at work, in a folder of its own; number -1 is the original.
class Attempt {
 public:
  Attempt(const Kind& kind, int64_t number, std::string folder, uint64_t seed);
  /// Has it ended? Then wrong() says what was wrong about it.
  bool ended();
  const std::string& wrong() const { return wrong_; }
  int code() const { return code_; }

 private:
  [[noreturn]] void be_the_program(bool proper);
  void evaluate(int status, const rusage& used);
  void keep();

  const Kind& kind_;
  const int64_t number_;
  const std::string folder_;
  std::string bytes_, wrong_;
  pid_t child_ = 0;
  int code_ = -1;  // exit status, or 128 + the signal that ended it
  bool late_ = false;
  std::chrono::steady_clock::time_point start_;
};

Attempt::Attempt(const Kind& kind, int64_t number, std::string folder, uint64_t seed)
    : kind_(kind), number_(number), folder_(std::move(folder)) {
  uint64_t stream = 0;
  for (const char c : kind.name) stream = 31 * stream + static_cast<uint8_t>(c);
  Rng rng({seed, stream, static_cast<uint64_t>(number)});
  bytes_ = number < 0 ? kind.original : mutated(kind.original, kind.text, rng);
  if (kind.finished) bytes_ = kind.finished(bytes_);
  std::filesystem::remove_all(folder_);
  for (const auto& [name, text] : kind.beside) put(folder_ + "/" + name, text);
  put(folder_ + "/" + kind.file, bytes_);
  for (const auto& [name, target] : kind.links) std::filesystem::create_symlink(target, folder_ + "/" + name);
  start_ = std::chrono::steady_clock::now();
  std::cout.flush();
  child_ = fork();
  require(child_ >= 0, "mutations", "cannot fork");
  if (child_ == 0) be_the_program(number % kProper == kProper - 1);
}

void Attempt::be_the_program(bool proper) {
  for (const int s : {SIGINT, SIGTERM, SIGSEGV, SIGABRT, SIGFPE, SIGILL}) signal(s, SIG_DFL);
  dup2(open("/dev/null", O_WRONLY), STDOUT_FILENO);
  dup2(open((folder_ + "/stderr").c_str(), O_WRONLY | O_CREAT, 0666), STDERR_FILENO);
  std::vector<std::string> words;
  for (const std::string& word : kind_.words) words.push_back(in_folder(word, folder_));
  const std::string program = words[0];
  words[0] = build_folder() + "/" + program;
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  if (proper) execv(argv[0], argv.data());
  std::exit(main_of(program)(static_cast<int>(words.size()), argv.data()));
}

bool Attempt::ended() {
  int status = 0;
  rusage used{};
  if (wait4(child_, &status, WNOHANG, &used) == 0) {
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start_;
    if (!late_ && elapsed.count() > kMostSeconds) {
      late_ = true;
      kill(child_, SIGKILL);
    }
    return false;
  }
  evaluate(status, used);
  if (!wrong_.empty()) keep();
  return true;
}

void Attempt::evaluate(int status, const rusage& used) {
  const std::string text = slurp(folder_ + "/stderr");
  std::istringstream lines(text);
  int errors = 0;
  for (std::string line; std::getline(lines, line);) errors += line.starts_with("error: ");
  code_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  if (late_)
    wrong_ = "not done after " + std::to_string(static_cast<int>(kMostSeconds)) + " s";
  else if (WIFSIGNALED(status) || code_ > 2 || text.find("Sanitizer") != std::string::npos)
    wrong_ = "ended with " + std::to_string(code_);
  else if (errors != (code_ == 0 ? 0 : 1))
    wrong_ = "ended with " + std::to_string(code_) + " and " + std::to_string(errors) + " error lines";
  else if (int64_t{1024} * used.ru_maxrss > kMostBytes)
    wrong_ = "took " + std::to_string(used.ru_maxrss >> 10) + " MiB";
  if (!wrong_.empty()) wrong_ += ": " + text.substr(0, 2000);
}

/// Leaves the file, and how to give it to the program again.
void Attempt::keep() {
  const std::string kept = build_folder() + "/mutations/" + kind_.name + "-" + std::to_string(number_);
  std::filesystem::remove_all(kept);
  std::filesystem::create_directories(kept);
  std::filesystem::copy(folder_, kept,
                        std::filesystem::copy_options::recursive | std::filesystem::copy_options::copy_symlinks);
  std::filesystem::remove_all(kept + "/run");
  for (const auto& [name, text] : kind_.beside) put(kept + "/" + name, text);
  put(kept + "/" + kind_.file, bytes_);
  std::string line;
  for (const std::string& word : kind_.words) line += " '" + in_folder(word, kept) + "'";
  wrong_ =
      kind_.name + " " + std::to_string(number_) + " " + wrong_ + "\n  kept in " + kept + ", read by" + line + "\n";
}

/// What a program makes of the original: an answer, or else its words.
std::string attempt_original(const Kind& kind, const TemporaryFolder& folder) {
  Attempt attempt(kind, -1, folder.path("slot0"), 0);
  while (!attempt.ended()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  return attempt.code() == 0 ? "" : kind.name + ": " + slurp(folder.path("slot0/stderr"));
}

/// Mutations `first` … `first + count - 1` of a kind, two at a time; what went wrong.
std::string attempts(const Kind& kind, int64_t first, int64_t count, const TemporaryFolder& folder, uint64_t seed) {
  constexpr size_t kSlots = 2;
  std::unique_ptr<Attempt> at_work[kSlots];
  std::string wrong;
  const int64_t end = first + count;
  for (bool any = true; any;) {
    any = false;
    for (size_t i = 0; i < kSlots; ++i) {
      if (at_work[i] && at_work[i]->ended()) {
        wrong += at_work[i]->wrong();
        at_work[i].reset();
      }
      if (!at_work[i] && first < end)
        at_work[i] = std::make_unique<Attempt>(kind, first++, folder.path("slot" + std::to_string(i)), seed);
      any = any || at_work[i] != nullptr;
    }
    std::this_thread::sleep_for(std::chrono::microseconds(500));
  }
  return wrong;
}

}  // namespace

TEST_CASE("mutations: damaged files of every kind, given to the programs that read them") {
  const int64_t count = knob("STORM_MUTATIONS", 2), first = knob("STORM_FIRST", 0);
  const auto seed = static_cast<uint64_t>(knob("STORM_SEED", 1));
  const char* only = std::getenv("STORM_KINDS");  // words that names begin with
  const TemporaryFolder folder;
  setenv("GOMP_SPINCOUNT", "1000", 1);  // programs start themselves again where nobody has chosen
  setenv("PATH", (folder.path("bin") + ":" + std::getenv("PATH")).c_str(), 1);
  for (const Kind& kind : kinds_in(folder)) {
    if (only != nullptr && (" " + std::string(only) + " ").find(" " + kind.name + " ") == std::string::npos) continue;
    const auto start = std::chrono::steady_clock::now();
    const int64_t here = (count + kind.slow - 1) / kind.slow;
    const std::string refused = attempt_original(kind, folder);
    CHECK_MESSAGE((kind.may_be_refused || refused.empty()), refused);
    const std::string wrong = attempts(kind, first, here, folder, seed);
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    std::cout << kind.name << ": " << here << " mutations in " << elapsed.count() << " s" << std::endl;
    CHECK_MESSAGE(wrong.empty(), wrong);
  }
}
