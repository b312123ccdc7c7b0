#pragma once
// Numbers as tables show them.

#include <string>

namespace sked::scale {

/// `1.21 GB`.
std::string scaled(double value, const char* unit);
/// `12.0 ms`, from 1 second on `1.20 s`.
std::string seconds(double value);

}  // namespace sked::scale
