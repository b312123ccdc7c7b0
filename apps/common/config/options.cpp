#include "apps/common/config/options.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <filesystem>
#include <limits>

#include "apps/common/config/config.h"
#include "apps/common/config/meant.h"
#include "core/error.h"
#include "core/text.h"

namespace sked {
namespace {

bool is_argument(const Option& option) { return !option.name.starts_with("-"); }

template <class T>
std::string checked_number(const std::string& text, T least, T most) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc{} && end == text.data() + text.size() && value >= least && value <= most) return {};
  const std::string from = std::to_string(least), to = std::to_string(most);
  const bool open = most == std::numeric_limits<T>::max();
  return "expected an integer, " + (open ? "at least " + from : from + " to " + to) + ", got " + excerpt(text);
}

/// What is wrong with a value; empty: nothing.
std::string problem(const Option& option, const std::string& value) {
  std::error_code error;
  if (value.starts_with("~/") || value.find("=~/") != value.npos || value.find(":~/") != value.npos)
    return excerpt(value) + ": a shell knows ~ at the beginning of a word alone: expected $HOME/...";
  if (option.exists && !std::filesystem::exists(value, error)) return "no such file or folder: " + excerpt(value);
  if (!option.one_of.empty() && std::ranges::count(option.one_of, value) == 0)
    return "expected one of " + join(option.one_of) + ", got " + excerpt(value) + did_you_mean(value, option.one_of);
  return std::visit(
      [&](auto* target) -> std::string {
        using T = std::decay_t<decltype(*target)>;
        if constexpr (std::is_same_v<T, std::optional<uint64_t>>) {
          return checked_number<uint64_t>(value, 0, std::numeric_limits<uint64_t>::max());
        } else if constexpr (std::is_same_v<T, std::optional<int64_t>> || std::is_same_v<T, int64_t> ||
                             std::is_same_v<T, int>) {
          using Limits = std::numeric_limits<std::conditional_t<std::is_same_v<T, int>, int, int64_t>>;
          return checked_number<int64_t>(value, option.in ? option.in->first : 0,
                                         option.in ? option.in->second : Limits::max());
        } else {
          return {};
        }
      },
      option.target);
}

void declare(CLI::App& app, const Option& option) {
  std::visit(
      [&](auto* target) {
        if constexpr (std::is_same_v<decltype(target), bool*>) {
          app.add_flag(option.name, *target);
          return;
        } else {
          CLI::Option* declared = app.add_option(option.name, *target);
          if (option.repeated)  // one value each: what follows may be the argument that stands alone
            declared->allow_extra_args(false)->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
          if (option.required) declared->required();
          declared->check([option](const std::string& value) { return problem(option, value); });
        }
      },
      option.target);
}

/// `did you mean --set train.epochs=...?` for `--epoch`, and for what other programs call such an option; else empty.
std::string meant_key(const std::string& option) {
  RunConfig config;
  std::vector<std::string> keys;
  for (const Field& field : fields_of(config)) keys.push_back(field.path);
  std::string word = option.substr(std::min(option.find_first_not_of('-'), option.size()));
  if (word.empty()) return "";
  std::ranges::replace(word, '-', '_');
  const std::string clause = meant_by(word, keys), begin = "did you mean ";
  if (!clause.starts_with(begin)) return clause.starts_with("the sections") ? "" : clause;
  std::string meant = clause.substr(begin.size(), clause.size() - begin.size() - 1);
  if (meant.starts_with("--")) return clause;
  if (std::ranges::count(keys, meant) == 0 && meant.find(' ') == std::string::npos) meant = main_key(meant, keys);
  for (size_t at = 0; (at = meant.find(" or ", at)) != std::string::npos; at += 15)
    meant.replace(at, 4, "=... or --set ");
  return begin + "--set " + meant + "=...?";
}

/// `FILE`, `auto|cpu|cuda`, `N`; empty for a flag.
std::string value_name(const Option& option) {
  if (!option.value.empty()) return option.value;
  if (std::holds_alternative<bool*>(option.target)) return "";
  if (!option.one_of.empty() && !is_argument(option)) return join(option.one_of, "|");
  const bool text = std::holds_alternative<std::string*>(option.target);
  if (std::holds_alternative<std::vector<std::string>*>(option.target)) return "TEXT ...";
  return text ? "TEXT" : "N";
}

bool takes_value(const Option& option) { return !std::holds_alternative<bool*>(option.target); }

/// Throws UsageError for an option that is none, with the one that was meant.
[[noreturn]] void refuse_name(const std::string& name, const AppText& text, const std::vector<Option>& options) {
  std::vector<std::string> names;
  for (const Option& option : options)
    if (!is_argument(option)) names.push_back(option.name);
  require_usage(text.has(name), text.name, excerpt(name), " has no meaning here (see --help)");
  const auto taken_for = [&](const Option& option) { return std::ranges::count(option.mistaken, name) > 0; };
  const auto other = std::ranges::find_if(options, taken_for);
  const std::string near = other != options.end() ? other->name : nearest(name, names);
  const std::string meant = !near.empty() ? "did you mean " + near + "?" : text.has("--set") ? meant_key(name) : "";
  detail::throw_error<UsageError>(text.name, excerpt(name), ": no such option", meant.empty() ? "" : "; ", meant,
                                  " (see --help)");
}

/// Numbers below 0 are none.
bool is_option(const std::string& word) {
  return word.size() > 1 && word[0] == '-' && (word[1] < '0' || word[1] > '9') && word[1] != '.';
}

/// Throws UsageError for the first word that begins as an option and is none, is given twice, or lacks its value.
void check_names(int argc, const char* const* argv, const AppText& text, const std::vector<Option>& options) {
  std::vector<std::string> seen;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i], name = word.substr(0, word.find('='));
    if (word == "--") return;
    if (!is_option(word)) continue;
    const auto option = std::ranges::find(options, name, &Option::name);
    if (option == options.end()) refuse_name(name, text, options);
    if (!takes_value(*option)) continue;
    const std::string next = i + 1 < argc ? argv[i + 1] : "";
    const std::string value = name.size() < word.size() ? word.substr(name.size() + 1) : is_option(next) ? "" : next;
    const bool empty = value.empty() && (name.size() < word.size() || (i + 1 < argc && next.empty()));
    require_usage(!value.empty(), text.name, name, ": expected ", value_name(*option), " behind it",
                  empty ? ", got an empty word" : "", " (see --help)");
    const bool several = std::holds_alternative<std::vector<std::string>*>(option->target);
    require_usage(several || std::ranges::count(seen, name) == 0, text.name, name, ": given twice (see --help)");
    seen.push_back(name);
  }
}

std::string default_of(const Option& option) {
  return std::visit(
      [](const auto* target) -> std::string {
        using T = std::decay_t<decltype(*target)>;
        if constexpr (std::is_same_v<T, std::string>)
          return *target;
        else if constexpr (std::is_same_v<T, int> || std::is_same_v<T, int64_t>)
          return std::to_string(*target);
        else
          return {};
      },
      option.target);
}

std::string described(const std::string& term, const std::string& meaning, size_t columns) {
  constexpr size_t kIndent = 24;
  std::string line = "  " + term;
  const size_t width = display_width(line);
  line += width + 2 > kIndent ? "\n" + std::string(kIndent, ' ') : std::string(kIndent - width, ' ');
  return line + wrapped(meaning, columns, kIndent) + "\n";
}

std::string described(const std::vector<Option>& options, bool arguments, const char* title, size_t columns) {
  std::string text;
  for (const Option& option : options) {
    if (is_argument(option) != arguments) continue;
    const bool several = std::holds_alternative<std::vector<std::string>*>(option.target);
    const std::string value = !arguments ? value_name(option) : several ? "..." : "";
    const std::string term = option.name + (value.empty() ? "" : " " + value);
    const std::string shown = option.shows_default && !default_of(option).empty()
                                  ? option.help + " (default: " + default_of(option) + ")"
                                  : option.help;
    text += described(term, shown, columns);
  }
  return text.empty() ? "" : "\n" + std::string(title) + ":\n" + text;
}

/// A command line too long for one line goes on behind a backslash.
std::string shown_example(const std::string& example, size_t columns) {
  std::string text;
  for (const std::string_view line : lines_of(example)) {
    const size_t blanks = line.find_first_not_of(' ');
    std::string shown = wrapped(line, blanks == 0 ? columns - 2 : columns, blanks == 0 ? 6 : 4);
    for (size_t at = 0; blanks == 0 && (at = shown.find('\n', at)) != std::string::npos; at += 3)
      shown.insert(at, " \\");
    text += std::string(blanks == 0 ? 2 : 4, ' ') + shown + "\n";
  }
  return text;
}

}  // namespace

bool AppText::has(const std::string& option) const { return std::ranges::count(without, option) == 0; }

void parse_options(int argc, const char* const* argv, const AppText& text, const std::vector<Option>& options) {
  check_names(argc, argv, text, options);
  CLI::App app(text.about, text.name);
  app.set_help_flag();  // help_text() is ours: versions of the library show theirs differently
  for (const Option& option : options) declare(app, option);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ExtrasError&) {
    std::vector<std::string> words = app.remaining();
    std::erase(words, "--");
    const std::string first = words.empty() ? "" : excerpt(words.front());
    const std::string option = first.ends_with(".json") ? "--config" : first.find('=') != first.npos ? "--set" : "";
    const std::string meant = text.has(option) && !option.empty() ? "; did you mean " + option + " " + first + "?" : "";
    detail::throw_error<UsageError>(text.name, "not expected: ", excerpt(join(words, " ")), meant, " (see --help)");
  } catch (const CLI::ParseError& error) {
    detail::throw_error<UsageError>(text.name, error.what(), " (see --help)");
  }
}

std::string help_text(const AppText& text, const std::vector<Option>& own, const std::vector<Option>& common,
                      size_t columns) {
  std::string usage = "Usage: build/" + text.name + " [options]";
  for (const Option& option : own)
    if (is_argument(option)) {
      const bool several = std::holds_alternative<std::vector<std::string>*>(option.target);
      const std::string name = option.name + (several ? " ..." : "");
      usage += option.required ? " " + name : " [" + name + "]";
    }
  return wrapped(text.about, columns) + "\n\n" + wrapped(usage, columns, 7) + "\n" +
         described(own, true, "Arguments", columns) + described(own, false, "Options", columns) +
         described(common, false, "Options of every program", columns) + "\nExample:\n" +
         shown_example(text.example, columns) + "\n" +
         wrapped(
             "Exit status: 0 done, 1 failed, 2 wrong usage; stopped, a checkpoint written: 130 by Ctrl-C, 143 by "
             "SIGTERM, 129 by SIGHUP, 141 where the reader of a pipe is gone, 124 by train.time_limit.",
             columns) +
         "\n";
}

}  // namespace sked
