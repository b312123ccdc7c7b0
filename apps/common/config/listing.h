#pragma once
// The keys of a configuration as people read them.

#include <string>

namespace sked {

/// Each key with its default, what it means and what it takes, by sections, in lines of at most `columns` where a word
/// is not longer. Of all keys those that have `pattern` in their name; where there are none, in their meaning; in small
/// or capital letters. Throws UsageError where there are none either.
std::string key_list(const std::string& pattern, size_t columns);

}  // namespace sked
