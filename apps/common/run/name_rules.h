#pragma once
// Names replaced by rules.

#include <span>
#include <string>
#include <string_view>

namespace sked {

/// How the beginning of a name is replaced. `#` in `from` is a number; `to` has each of them again, as `#` for itself
/// or as `+` for one more.
struct Rule {
  std::string_view from, to;
};

/// `name` by the first rule that it begins with; itself where there is none.
std::string renamed(const std::string& name, std::span<const Rule> rules);

}  // namespace sked
