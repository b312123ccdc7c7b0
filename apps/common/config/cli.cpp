#include "apps/common/config/cli.h"

#include <execinfo.h>
#include <fcntl.h>
#include <omp.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>
#include <new>

#include "apps/common/config/interrupt.h"
#include "apps/common/config/listing.h"
#include "apps/common/config/log.h"
#include "apps/common/config/progress.h"
#include "apps/common/config/ranks.h"
#include "core/build.h"
#include "core/error.h"
#include "core/kernel.h"
#include "core/precision.h"
#include "core/text.h"
#include "core/threads.h"

namespace sked {
namespace {

constexpr int kFailure = 1, kWrongUsage = 2;
constexpr const char* kNoMemory =
    "not enough memory: a smaller train.batch_size, or fewer head.test_samples, need less";

int end_with(const std::string& error, int code) {
  return end_ranks(error, code, [](std::string line) {
    std::replace(line.begin(), line.end(), '\n', ' ');
    std::fflush(stdout);
    std::fprintf(stderr, "%s\n", printable(line).c_str());
  });
}

/// The command line with what a shell would read differently in single quotes.
std::string quoted(int argc, const char* const* argv) {
  std::string line;
  for (int i = 0; i < argc; ++i) {
    std::string word = argv[i];
    if (word.empty() || word.find_first_of(" \t\n'\"\\$&|;<>(){}[]*?`!#~") != std::string::npos) {
      for (size_t at = 0; (at = word.find('\'', at)) != std::string::npos; at += 4) word.replace(at, 1, "'\\''");
      word = "'" + word + "'";
    }
    line += (i > 0 ? " " : "") + word;
  }
  return line;
}

bool built_with_cuda() {
  const auto kernels = all_kernels();
  return std::any_of(kernels.begin(), kernels.end(), [](const KernelBase* k) { return k->implemented(Device::cuda); });
}

Device choose_device(const std::string& wanted) {
  if (wanted == "cpu") return Device::cpu;
  if (is_available(Device::cuda)) return Device::cuda;
  const bool built = built_with_cuda();
  const std::string none = "no GPU is usable on this machine (" + reason_unavailable(Device::cuda) + ")";
  if (wanted == "cuda")
    fail("device", "--device cuda: ", built ? none : "this program was built without the CUDA backend");
  if (built) note(none + ": running on the CPU");
  return Device::cpu;
}

/// Where memory runs out beside the main thread, or within a loop of several threads, nobody catches: one line as well.
void end_in_one_line() {
  void* frame = nullptr;
  backtrace(&frame, 1);  // loads what threads need to end, which ends the process where there is no memory for it later
  std::set_terminate([] {
    const char* who = rank_prefix().c_str();
    try {
      if (std::current_exception()) throw;
      std::fprintf(stderr, "error: %sa failure beside the main thread\n", who);
    } catch (const std::bad_alloc&) {
      std::fprintf(stderr, "error: %s%s\n", who, kNoMemory);
    } catch (const std::exception& error) {
      std::fprintf(stderr, "error: %s%s\n", who, error.what());
    } catch (...) {
      std::fprintf(stderr, "error: %sa failure of an unknown kind\n", who);
    }
    _exit(kFailure);
  });
}

/// A standard stream that the caller closed leaves its number to the next file that is opened, and what is printed then
/// goes into that file: here it goes nowhere.
void keep_streams_apart() {
  for (int null = 0; null >= 0 && null <= STDERR_FILENO;) {
    null = open("/dev/null", O_RDWR);
    if (null > STDERR_FILENO) close(null);
  }
}

/// Was all that was printed taken? Throws Error where it was not, but for a reader that is gone. `error`: of what was
/// printed last, if any.
void check_output(int error = 0) {
  if (std::fflush(stdout) != 0 && error == 0) error = errno;
  if (std::ferror(stdout) == 0 || reader_is_gone()) return;  // it may have failed long ago
  fail("output", "not all of it could be written to stdout", error == 0 ? "" : ": ",
       error == 0 ? "" : std::strerror(error));
}

/// What concerns the whole process, and not a program's options.
struct ProcessOptions {
  std::string device = "auto", precision = "f32", graph = "auto", log, completion;
  bool deterministic = false, quiet = false, version = false, help = false;
  std::string list_keys;
};

std::vector<Option> common_options(CommonOptions& options, ProcessOptions& process, const std::string& program) {
  return {
      {"--config", &options.config, "Configuration to run (apps/configs has ready ones)", "FILE"},
      {.name = "--set",
       .target = &options.set,
       .help = "Overrides one key of it: --set train.epochs=3 --set head.kind=het-xl; may be repeated",
       .value = "KEY.PATH=VALUE",
       .repeated = true},
      {"--list-keys", &process.list_keys,
       "Lists the keys of a configuration: default, meaning, values; of all those with PATTERN in their name",
       "[PATTERN]"},
      {"--print-config", &options.print_config, "Prints the whole configuration, with --set and the like, as JSON"},
      {.name = "--device",
       .target = &process.device,
       .help = "auto takes a GPU where one is usable, else the CPU; of several the first that CUDA_VISIBLE_DEVICES "
               "names",
       .one_of = {"auto", "cpu", "cuda"},
       .shows_default = true},
      {.name = "--precision",
       .target = &process.precision,
       .help = "What is computed in less than f32, where the device can. tf32: factors of products (GPUs). bf16: a "
               "network's activations, and factors of its products and convolutions (GPUs, CPUs with AVX512_BF16). "
               "Sums, parameters and losses stay f32",
       .one_of = {"f32", "tf32", "bf16"},
       .shows_default = true},
      {"--deterministic", &process.deterministic,
       "On a GPU, only algorithms that give the same bits every time; slower with cuDNN"},
      {.name = "--graph",
       .target = &process.graph,
       .help =
           "auto records a training step on a GPU once and replays it as a CUDA graph; off launches every kernel of "
           "every step. The numbers are the same",
       .one_of = {"auto", "off"},
       .shows_default = true},
      {.name = "--threads",
       .target = &options.threads,
       .help = "CPU threads; default: one per core, of which several ranks on a machine take equal shares",
       .in = {{1, 1024}}},
      {"--seed", &options.seed, "Overrides the configuration's seed"},
      {"--out", &options.out, "Folder of the results", "DIR"},
      {"--data-root", &options.data_root, "Folder of the data sets; default: $SKEDASTIC_DATA, else ./datasets", "DIR"},
      {"--quiet", &process.quiet, "No progress and no notes; results and errors alone"},
      {"--log", &process.log, "Appends all lines that are printed to this file, too", "FILE"},
      {.name = "--completion",
       .target = &process.completion,
       .help = "Prints a script that completes these options: source <(build/" + program + " --completion bash)",
       .one_of = {"bash", "zsh"}},
      {"--version", &process.version, "Prints what this program was built as"},
      {"--help", &process.help, "Prints this"}};
}

/// `skedastic 0.1, g++ 12.2.0, with CUDA, oneDNN 2.6.3, zlib 1.2.13`.
std::string built_as() {
  std::vector<std::string> parts = libraries();
  if (built_with_cuda()) parts.insert(parts.begin(), "CUDA");
  return std::string("skedastic ") + kVersion + ", " + compiler() + ", " +
         (parts.empty() ? "without optional libraries" : "with " + join(parts));
}

/// --help and its like, which need nothing else to be right: prints, and says whether there was one.
bool answered(int argc, const char* const* argv, const AppText& text, const std::vector<Option>& own,
              const std::vector<Option>& common) {
  const auto columns = static_cast<size_t>(std::clamp<int64_t>(terminal_columns(), 40, 100));
  std::vector<Option> all = own;
  all.insert(all.end(), common.begin(), common.end());
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i], name = word.substr(0, word.find('='));
    const bool attached = name.size() < word.size(), follows = i + 1 < argc && argv[i + 1][0] != '-';
    const std::string value = attached ? word.substr(name.size() + 1) : follows ? argv[i + 1] : "";
    std::string answer;
    if (word == "--") return false;
    if (word == "--help" || word == "-h") answer = help_text(text, own, common, columns);
    if (word == "--version") answer = built_as() + "\n";
    if (name == "--list-keys" && text.has(name)) answer = key_list(value, columns);
    if (name == "--completion" && (value == "bash" || value == "zsh")) answer = completion_script(text, all, value);
    if (answer.empty()) continue;
    check_output(std::fputs(answer.c_str(), stdout) < 0 ? errno : 0);
    return true;
  }
  return false;
}

/// Device, precision and threads of the process.
void prepare_process(const ProcessOptions& process, CommonOptions& options) {
  options.device = choose_device(process.device);
  require_same_device(options.device);
  options.graph = process.graph == "auto";
  set_product_precision(parse_precision(process.precision));
  set_deterministic(process.deterministic);
  if (!offers(options.device, product_precision())) {
    note("this " + std::string(name(options.device)) + " has no products in " + process.precision +
         " and computes them in f32: --precision " + process.precision + " changes nothing");
    set_product_precision(Precision::f32);
  }
  const int threads = options.threads > 0 ? options.threads : default_threads();
  if (threads > 0) omp_set_num_threads(threads);
  std::signal(SIGXFSZ, SIG_IGN);  // a file at its size limit is an error of write(), with a message
}

/// Thrown where the program has done what it was asked for.
struct Done {};

int run(int argc, const char* const* argv, const AppText& text, const std::vector<Option>& own,
        const std::function<void(const CommonOptions&)>& body) {
  try {
    catch_interrupts();
    let_one_rank_speak();
    CommonOptions options;
    options.command = valid_utf8(quoted(argc, argv));
    ProcessOptions process;
    std::vector<Option> common = common_options(options, process, text.name);
    std::erase_if(common, [&](const Option& option) { return !text.has(option.name); });
    if (answered(argc, argv, text, own, common)) return 0;
    join_ranks(text);
    std::vector<Option> all = own;
    all.insert(all.end(), common.begin(), common.end());
    parse_options(argc, argv, text, all);
    if (!process.log.empty()) log_to(process.log, speaks());
    be_quiet(process.quiet || !speaks());
    prepare_process(process, options);
    try {
      body(options);
    } catch (const Done&) {
    }
    check_output();
    return 0;
  } catch (const Interrupted&) {
    return end_interrupted_ranks(interrupt_status());
  } catch (const UsageError& error) {
    return end_with(error.what(), kWrongUsage);
  } catch (const std::bad_alloc&) {
    return end_with(kNoMemory, kFailure);
  } catch (const std::filesystem::filesystem_error& error) {
    return end_with("[files] " + error.path1().string() + ": " + error.code().message(), kFailure);
  } catch (const std::exception& error) {
    return end_with(error.what(), kFailure);
  }
}

}  // namespace

int run_app(int argc, const char* const* argv, const AppText& text, const std::vector<Option>& own,
            const std::function<void(const CommonOptions&)>& body) {
  keep_streams_apart();
  end_in_one_line();
  share_processors(argv);
  const int code = run(argc, argv, text, own, body);
  const std::string lost = end_log();
  return lost.empty() ? code : end_with(lost, code == 0 ? kFailure : code);
}

RunConfig load_config(const CommonOptions& options) {
  require_usage(!options.config.empty(), "config", "expected --config FILE (apps/configs has ready ones; see --help)");
  RunConfig config = read_config(options.config);
  apply_options(options, config);
  return config;
}

void print_if_asked(const CommonOptions& options, const std::string& text) {
  if (!options.print_config) return;
  std::fputs(text.c_str(), stdout);
  throw Done{};
}

void apply_options(const CommonOptions& options, RunConfig& config) {
  for (const std::string& assignment : options.set) set_config_field(assignment, config);
  if (options.seed) config.seed = *options.seed;
  if (!options.data_root.empty()) config.data.root = options.data_root;
  validate(config);
}

}  // namespace sked
