#include "apps/common/config/cli.h"

#include <execinfo.h>
#include <fcntl.h>
#include <omp.h>
#include <poll.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <iostream>
#include <new>

#include "apps/common/config/interrupt.h"
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

int say_error(const std::string& what, int code) {
  std::string line = what;
  std::replace(line.begin(), line.end(), '\n', ' ');
  std::cerr << "error: " << printable(line) << std::endl;
  return code;
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
  if (built) std::cerr << "note: " << none << ": running on the CPU" << std::endl;
  return Device::cpu;
}

/// Where memory runs out beside the main thread, or within a loop of several threads, nobody catches: one line as well.
void end_in_one_line() {
  void* frame = nullptr;
  backtrace(&frame, 1);  // loads what threads need to end, which ends the process where there is no memory for it later
  std::set_terminate([] {
    try {
      if (std::current_exception()) throw;
      std::fputs("error: a failure beside the main thread\n", stderr);
    } catch (const std::bad_alloc&) {
      std::fprintf(stderr, "error: %s\n", kNoMemory);
    } catch (const std::exception& error) {
      std::fprintf(stderr, "error: %s\n", error.what());
    } catch (...) {
      std::fputs("error: a failure of an unknown kind\n", stderr);
    }
    _exit(kFailure);
  });
}

/// A standard stream that the caller closed leaves its number to the next file that is opened, and what is printed then
/// goes into that file: here it goes nowhere. A reader that is gone is no reason to end a training either.
void keep_streams_apart() {
  for (int null = 0; null >= 0 && null <= STDERR_FILENO;) {
    null = open("/dev/null", O_RDWR);
    if (null > STDERR_FILENO) close(null);
  }
  std::signal(SIGPIPE, SIG_IGN);
}

/// Was all that was printed taken? Throws Error where it was not, but for a reader that is gone.
void check_output() {
  const int error = std::fflush(stdout) == 0 ? 0 : errno;
  if (std::ferror(stdout) == 0) return;  // also what failed long ago
  pollfd out{.fd = STDOUT_FILENO, .events = POLLOUT, .revents = 0};
  if (poll(&out, 1, 0) == 1 && (out.revents & (POLLERR | POLLHUP)) != 0) return;
  fail("output", "not all of it could be written to stdout", error == 0 ? "" : ": ",
       error == 0 ? "" : std::strerror(error));
}

/// What concerns the whole process, and not a program's options.
struct ProcessOptions {
  std::string device = "auto", precision = "f32", graph = "auto";
  bool deterministic = false;
};

void declare_common(CLI::App& app, CommonOptions& options, ProcessOptions& process) {
  app.add_option("--config", options.config, "Configuration to run (apps/configs has ready ones)")->type_name("FILE");
  app.add_option("--set", options.set,
                 "Overrides one key of it: --set train.epochs=3 --set head.kind=het-xl; may be repeated")
      ->type_name("KEY.PATH=VALUE")
      ->allow_extra_args(false)  // one each: what follows is not another assignment
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  app.add_option(
         "--device", process.device,
         "auto takes a GPU where one is usable, else the CPU; of several the first that CUDA_VISIBLE_DEVICES names")
      ->check(CLI::IsMember({"auto", "cpu", "cuda"}))
      ->type_name("auto|cpu|cuda")
      ->capture_default_str();
  app.add_option(
         "--precision", process.precision,
         "What is computed in less than f32, where the device can. tf32: factors of products (GPUs). bf16: a network's "
         "activations (GPUs) or factors of its products and convolutions (CPUs with AVX512_BF16). Sums, parameters and "
         "losses stay f32")
      ->check(CLI::IsMember({"f32", "tf32", "bf16"}))
      ->type_name("f32|tf32|bf16")
      ->capture_default_str();
  app.add_flag("--deterministic", process.deterministic,
               "On a GPU, only algorithms that give the same bits every time; slower with cuDNN");
  app.add_option("--graph", process.graph,
                 "auto records a training step on a GPU once and replays it as a CUDA graph; off launches every kernel "
                 "of every step. The numbers are the same")
      ->check(CLI::IsMember({"auto", "off"}))
      ->type_name("auto|off")
      ->capture_default_str();
  app.add_option("--threads", options.threads, "CPU threads; default: one per core")
      ->check(CLI::Range(1, 1024))
      ->type_name("N");
  app.add_option("--seed", options.seed, "Overrides the configuration's seed")
      ->check(CLI::NonNegativeNumber)
      ->type_name("N");
  app.add_option("--out", options.out, "Folder of the results")->type_name("DIR");
  app.add_option("--data-root", options.data_root, "Folder of the data sets; default: $SKEDASTIC_DATA, else ./datasets")
      ->type_name("DIR");
}

void declare(CLI::App& app, const Option& option) {
  CLI::Option* declared = std::visit(
      [&](auto* target) {
        if constexpr (std::is_same_v<decltype(target), bool*>) {
          return app.add_flag(option.name, *target, option.help);
        } else {
          return app.add_option(option.name, *target, option.help);
        }
      },
      option.target);
  if (option.repeated)  // one value each: what follows may be the argument that stands alone
    declared->allow_extra_args(false)->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  if (option.required) declared->required();
  if (option.exists) declared->check(CLI::ExistingPath);
  if (!option.one_of.empty()) declared->check(CLI::IsMember(option.one_of));
  if (option.in) declared->check(CLI::Range(option.in->first, option.in->second));
  if (!option.value.empty()) declared->type_name(option.value);
  if (option.shows_default) declared->capture_default_str();
}

}  // namespace

int run_app(int argc, const char* const* argv, const AppText& text, const std::vector<Option>& own,
            const std::function<void(const CommonOptions&)>& body) {
  keep_streams_apart();
  end_in_one_line();
  share_processors(argv);
  try {
    catch_interrupts();
    CLI::App app(text.about, text.name);
    app.footer("Example:\n  " + text.example +
               "\n\nExit status: 0 done, 1 failed, 2 wrong usage; stopped, a checkpoint written: 130 by Ctrl-C, 143 by "
               "SIGTERM, 129 by SIGHUP, 124 by train.time_limit.");
    CommonOptions options;
    options.command = valid_utf8(quoted(argc, argv));
    ProcessOptions process;
    declare_common(app, options, process);
    for (const Option& option : own) declare(app, option);
    try {
      app.parse(argc, argv);
    } catch (const CLI::Success& help) {
      const int code = app.exit(help);
      check_output();
      return code;
    } catch (const CLI::ParseError& error) {
      return say_error(std::string(error.what()) + " (see --help)", kWrongUsage);
    }
    options.device = choose_device(process.device);
    options.graph = process.graph == "auto";
    set_product_precision(parse_precision(process.precision));
    set_deterministic(process.deterministic);
    if (!offers(options.device, product_precision())) {
      std::cerr << "note: this " << name(options.device) << " has no products in " << process.precision
                << " and computes them in f32: --precision " << process.precision << " changes nothing" << std::endl;
      set_product_precision(Precision::f32);
    }
    if (options.threads > 0) omp_set_num_threads(options.threads);
    std::signal(SIGXFSZ, SIG_IGN);  // a file at its size limit is an error of write(), with a message
    body(options);
    check_output();
    return 0;
  } catch (const Interrupted&) {
    return interrupt_status();
  } catch (const UsageError& error) {
    return say_error(error.what(), kWrongUsage);
  } catch (const std::bad_alloc&) {
    return say_error(kNoMemory, kFailure);
  } catch (const std::exception& error) {
    return say_error(error.what(), kFailure);
  }
}

RunConfig load_config(const CommonOptions& options) {
  require_usage(!options.config.empty(), "config", "expected --config FILE (apps/configs has ready ones; see --help)");
  RunConfig config = read_config(options.config);
  apply_options(options, config);
  return config;
}

void refuse_config(const CommonOptions& options, const char* app) {
  require_usage(options.config.empty() && options.set.empty(), app, "--config and --set have no meaning here");
}

void apply_options(const CommonOptions& options, RunConfig& config) {
  for (const std::string& assignment : options.set) set_config_field(assignment, config);
  if (options.seed) config.seed = *options.seed;
  if (!options.data_root.empty()) config.data.root = options.data_root;
  validate(config);
}

}  // namespace sked
