#pragma once
// JSON from a file, looked over before the library makes a value of it.

#include <cstddef>
#include <optional>
#include <string>

namespace sked {

struct JsonProblem {
  std::string what;  // one line
  size_t byte = 0;   // where the text is malformed, from 1 on; 0: it is well-formed, but not to be read
};

/// What keeps `text` from being read as JSON: it is malformed, has more than `levels` levels of nesting (copying and
/// printing a value recurse), or uses a key twice in one object, of which the library would keep the last and say
/// nothing. Nothing where nothing does. Time and memory are linear in the text.
std::optional<JsonProblem> json_problem(const std::string& text, size_t levels);

}  // namespace sked
