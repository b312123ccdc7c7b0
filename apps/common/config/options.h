#pragma once
// Options as data: from one list follow parsing, --help, the completion of shells and "did you mean".

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace sked {

/// What --help says beside the options.
struct AppText {
  std::string name;     // `train`
  std::string about;    // what the program does, in a sentence or two
  std::string example;  // a command line that works; indented lines below it say what comes out
  /// Of the options of every program (cli.h) those that would do nothing here.
  std::vector<std::string> without = {};
  bool ranks = false;  // several processes may divide its work (mpirun, srun)

  bool has(const std::string& option) const;
};

/// One option of a program, as --help shows it.
struct Option {
  /// Where its value goes: a bool is a flag, a list takes several values.
  using Target = std::variant<bool*, int*, int64_t*, std::optional<int64_t>*, std::optional<uint64_t>*, std::string*,
                              std::vector<std::string>*>;

  std::string name;  // `--samples`; without dashes the argument that stands alone
  Target target;
  std::string help;
  std::string value = {};                              // what --help calls its value; default: after its type
  std::vector<std::string> one_of = {};                // the words it takes
  std::optional<std::pair<int64_t, int64_t>> in = {};  // the numbers it takes, both ends included
  bool required = false;
  bool exists = false;                     // has to name a file or a folder that is there
  bool shows_default = false;              // --help shows what is there before it is parsed
  bool repeated = false;                   // a list takes one value each time that it is given
  std::vector<std::string> mistaken = {};  // what is typed in its place: `--png` for --html
};

/// Fills the targets. Throws UsageError naming the option, the value and what was expected, and for a name that is none
/// (with the nearest option, or the key of a configuration of that name).
void parse_options(int argc, const char* const* argv, const AppText& text, const std::vector<Option>& options);

/// No line is longer than `columns`, but for words that are. `own` are the program's, `common` those of every program.
std::string help_text(const AppText& text, const std::vector<Option>& own, const std::vector<Option>& common,
                      size_t columns);

/// A script for `shell`, bash or zsh, that completes the options, the words they take, keys of a configuration behind
/// --set with their words, and files.
std::string completion_script(const AppText& text, const std::vector<Option>& options, const std::string& shell);

}  // namespace sked
