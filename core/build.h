#pragma once
// What this program was built as: version, compiler, optional libraries.

#include <string>
#include <vector>

namespace sked {

inline constexpr const char* kVersion = "0.1";

/// `g++ 12.2.0`.
std::string compiler();

/// The optional libraries that are in it, each with its version where it tells one, by name: `oneDNN 3.6.2`.
std::vector<std::string> libraries();

/// A static object of each file that is compiled with an optional library alone.
struct WithLibrary {
  explicit WithLibrary(const std::string& name);
};

}  // namespace sked
