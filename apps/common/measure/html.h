#pragma once
// Text inside HTML and SVG.

#include <string>

namespace sked {

/// As printable() has it, with the characters that mean something there as entities: fit for an attribute too.
std::string escaped(const std::string& text);

}  // namespace sked
