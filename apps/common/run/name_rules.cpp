#include "apps/common/run/name_rules.h"

#include <cctype>
#include <optional>

namespace sked {
namespace {

/// The number that begins at `at`, one more of it where asked for; `at` moves behind it.
std::string number(std::string_view name, size_t& at, bool next) {
  const size_t begin = at;
  while (at < name.size() && std::isdigit(static_cast<unsigned char>(name[at])) != 0) ++at;
  const std::string digits(name.substr(begin, at - begin));
  return next && !digits.empty() && digits.size() < 9 ? std::to_string(std::stoi(digits) + 1) : digits;
}

std::optional<std::string> rewritten(const Rule& rule, std::string_view name) {
  std::string result;
  size_t at = 0, written = 0;  // in `name`, in `to`
  for (const char c : rule.from) {
    if (c != '#') {
      if (at == name.size() || name[at++] != c) return std::nullopt;
      continue;
    }
    const size_t mark = rule.to.find_first_of("#+", written);
    const std::string digits = number(name, at, rule.to[mark] == '+');
    if (digits.empty()) return std::nullopt;
    result.append(rule.to.substr(written, mark - written)).append(digits);
    written = mark + 1;
  }
  return result.append(rule.to.substr(written)).append(name.substr(at));
}

}  // namespace

std::string renamed(const std::string& name, std::span<const Rule> rules) {
  for (const Rule& rule : rules) {
    if (std::optional<std::string> own = rewritten(rule, name)) return *own;
  }
  return name;
}

}  // namespace sked
