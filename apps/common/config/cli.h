#pragma once
// The command line every program understands, and the exit codes every program keeps to.

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "apps/common/config/config.h"
#include "apps/common/config/options.h"
#include "core/device.h"

namespace sked {

/// What every program takes, but for what AppText::without names: --config FILE --set key.path=value … --device
/// auto|cpu|cuda --precision f32|tf32|bf16 --deterministic --graph auto|off --threads N --seed N --out DIR --data-root
/// DIR --quiet --log FILE --print-config, and what ends it before it begins: --help --version --list-keys [PATTERN]
/// --completion bash|zsh.
struct CommonOptions {
  std::string config;            // path, or "" when not given
  std::vector<std::string> set;  // assignments, in the order given
  Device device = Device::cpu;   // what --device came to on this machine
  bool graph = true;             // --graph auto
  int threads = 0;               // 0: as many as there are cores
  std::optional<uint64_t> seed;
  std::string out;
  std::string data_root;
  std::string command;        // the command line as it was typed
  bool print_config = false;  // print_if_asked() ends the program
};

/// Runs a program: parses the command line, takes Ctrl-C and --threads in hand, calls `body`. `own` are the
/// program's own options. Returns the exit code: 0; 1 after one line `error: …` on stderr for a
/// failure; 2 likewise for wrong usage (UsageError, or a command line that does not parse); interrupt_status() when
/// `body` threw Interrupted. A program that takes ranks (AppText::ranks) finds world() opened; rank 0 alone prints, and
/// a rank that fails alone ends all (ranks.h). Standard streams that are closed lead nowhere; a full stdout is a
/// failure, as is a file of --log that does not take all lines.
int run_app(int argc, const char* const* argv, const AppText& text, const std::vector<Option>& own,
            const std::function<void(const CommonOptions&)>& body);

/// The file of --config with --set, --seed and --data-root applied, validated. Throws UsageError when --config is not
/// given.
RunConfig load_config(const CommonOptions& options);
/// The same over a configuration that is there already.
void apply_options(const CommonOptions& options, RunConfig& config);
/// With --print-config prints what config_text() makes of a configuration, and leaves the program, which has then done
/// what it was asked for.
void print_if_asked(const CommonOptions& options, const std::string& text);

}  // namespace sked
