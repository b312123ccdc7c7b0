#pragma once
// The command line every program understands, and the exit codes every program keeps to.

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "apps/common/config/config.h"
#include "core/device.h"

namespace sked {

/// What --help says beside the options.
struct AppText {
  std::string name;     // `train`
  std::string about;    // what the program does, in a sentence or two
  std::string example;  // a command line that works, with a word on what comes out
};

/// One option of a program, as --help shows it.
struct Option {
  /// Where its value goes: a bool is a flag, a list takes several values.
  using Target = std::variant<bool*, int*, int64_t*, std::optional<int64_t>*, std::string*, std::vector<std::string>*>;

  std::string name;  // `--samples`; without dashes the argument that stands alone
  Target target;
  std::string help;
  std::string value = {};                              // what --help calls its value; default: after its type
  std::vector<std::string> one_of = {};                // the words it takes
  std::optional<std::pair<int64_t, int64_t>> in = {};  // the numbers it takes, both ends included
  bool required = false;
  bool exists = false;         // has to name a file or a folder that is there
  bool shows_default = false;  // --help shows what is there before it is parsed
  bool repeated = false;       // a list takes one value each time that it is given
};

/// --config FILE --set key.path=value … --device auto|cpu|cuda --precision f32|tf32|bf16 --deterministic
/// --graph auto|off --threads N --seed N --out DIR --data-root DIR
struct CommonOptions {
  std::string config;            // path, or "" when not given
  std::vector<std::string> set;  // assignments, in the order given
  Device device = Device::cpu;   // what --device came to on this machine
  bool graph = true;             // --graph auto
  int threads = 0;               // 0: as many as there are cores
  std::optional<uint64_t> seed;
  std::string out;
  std::string data_root;
  std::string command;  // the command line as it was typed
};

/// Runs a program: parses the command line, takes Ctrl-C and --threads in hand, calls `body`. `own` are the
/// program's own options. Returns the exit code: 0; 1 after one line `error: …` on stderr for a
/// failure; 2 likewise for wrong usage (UsageError, or a command line that does not parse); interrupt_status() when
/// `body` threw Interrupted. Standard streams that are closed lead nowhere; a full stdout is a failure.
int run_app(int argc, const char* const* argv, const AppText& text, const std::vector<Option>& own,
            const std::function<void(const CommonOptions&)>& body);

/// The file of --config with --set, --seed and --data-root applied, validated. Throws UsageError when --config is not
/// given.
RunConfig load_config(const CommonOptions& options);
/// The same over a configuration that is there already.
void apply_options(const CommonOptions& options, RunConfig& config);
/// For a program without one: throws UsageError where --config or --set is given.
void refuse_config(const CommonOptions& options, const char* app);

}  // namespace sked
