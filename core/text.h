#pragma once
// Words in messages for people.

#include <string>
#include <string_view>
#include <vector>

namespace sked {

/// The Levenshtein distance of two words: insertions, deletions and replacements of one character that turn one into
/// the other.
size_t edit_distance(std::string_view a, std::string_view b);

/// The candidate of least edit distance to `word` (the first of several), for "did you mean …". Empty where there are
/// no candidates.
std::string nearest(std::string_view word, const std::vector<std::string>& candidates);

/// Text from a file as one line of a message can show it: control characters become `?`, what is longer than 80 bytes
/// is cut.
std::string excerpt(std::string_view text);

/// `a, b, c`.
std::string join(const std::vector<std::string>& words, std::string_view separator = ", ");

}  // namespace sked
