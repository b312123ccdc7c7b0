#pragma once
// JSON by the library, which ours is checked against, for tests that read and change what programs write. What does not
// depend on the test is compiled once, in library_json.cpp: the library is templates from end to end.

#include <nlohmann/json.hpp>
#include <string>

extern template class nlohmann::basic_json<nlohmann::ordered_map>;

namespace sked::test {

using LibraryJson = nlohmann::ordered_json;

/// Throws the library's error where `text` is no JSON.
LibraryJson library_json(const std::string& text);

}  // namespace sked::test
