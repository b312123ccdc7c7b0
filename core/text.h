#pragma once
// Words in messages for people, and text as files hold it: lines, UTF-8.

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sked {

/// How many insertions, deletions and replacements of one character, and swaps of two neighbors, turn one word into the
/// other (optimal string alignment).
size_t edit_distance(std::string_view a, std::string_view b);

/// ASCII letters and digits in lower case, and what is not ASCII: what is left of a name however it is spelled.
std::string bare(std::string_view name);

/// The candidate that `word` is likely to stand for, whatever their case and punctuation (`HET_XL`: het-xl): the
/// shortest that has the whole of it within (`mnist`: fashion-mnist; of less than four letters at its beginning), else
/// the longest that the word begins with (`vit_small_patch16`: vit-s), else that of least edit distance, the first of
/// several. Empty where none is near: a third of the letters or more would have to be others, or it would be the
/// opposite (`asymmetric` of symmetric). Of what is longer the first 256 bytes count.
std::string nearest(std::string_view word, const std::vector<std::string>& candidates);

/// What a message says of it: ` (did you mean "het-xl"?)`; empty where none is near.
std::string did_you_mean(std::string_view word, const std::vector<std::string>& candidates);

/// Text from a file as one line of a message can show it: control characters become `?`, bytes that are not UTF-8
/// `\xE9` (valid_utf8()), and what is longer than 80 bytes is cut between two characters.
std::string excerpt(std::string_view text);

/// `1 seed`, `2 seeds`.
std::string counted(size_t n, const std::string& what);

/// `a, b, c`.
std::string join(const std::vector<std::string>& words, std::string_view separator = ", ");

/// ASCII letters in lower case, every other byte as it is.
std::string lower_case(std::string_view text);

/// Without blanks (space, tab, \r, \n) at both ends.
std::string_view trimmed(std::string_view text);

/// The lines of a text without their ends (\n or \r\n), sharing its storage; behind a last line end there is none.
std::vector<std::string_view> lines_of(std::string_view text);

/// Does it begin as text in UTF-16 does: with its byte-order mark, or with two characters of ASCII?
bool is_utf16(std::string_view text);

/// The lines of a text file as editors and spreadsheets write it: without a byte-order mark and blank lines at the end.
/// Throws Error naming `source` for text in UTF-16, a gzipped file, and for lines that end in \r alone.
std::vector<std::string_view> file_lines(std::string_view text, const std::string& source);

/// What a field of a table says that is in quotes, as CSV writes one: `"a ""small"" cat"` is `a "small" cat`. Nothing
/// where the field is not in quotes as a whole: `"Hello" and "bye"`.
std::optional<std::string> unquoted(std::string_view field);

struct CodePoint {
  char32_t value = 0;
  size_t bytes = 0;  // 1 … 4, of its UTF-8
};
/// The code point that begins at byte `at`; nothing where the bytes from there on are not well-formed UTF-8 (Unicode
/// 15.0, table 3-7: no overlong forms, no surrogates, nothing above U+10FFFF) or the text ends.
std::optional<CodePoint> code_point(std::string_view text, size_t at);

/// The text with `\xE9` in place of a byte E9 that is not part of well-formed UTF-8, and so on: for names of files,
/// which may be any bytes, where they become names for people. Different names stay different.
std::string valid_utf8(std::string_view text);

/// The same, and control characters, line ends among them, and those that change the direction of text as `\x1B` or
/// `\u202E`: names from files as a terminal, a table or a page may show them, on one line.
std::string printable(std::string_view text);

/// Columns of a terminal that a UTF-8 text takes: 2 for a wide character (日, most emoji), 0 for one that combines with
/// what is before it, 1 for a byte that is not UTF-8.
size_t display_width(std::string_view text);

/// The longest beginning of a text, in whole characters, that takes `columns` at most.
std::string cut_to_columns(std::string_view text, size_t columns);

/// Words in lines of at most `columns`, where a word is not longer itself; the first begins behind `indent` blanks that
/// are there already, each other one with as many.
std::string wrapped(std::string_view text, size_t columns, size_t indent = 0);

/// A field of CSV (RFC 4180): in quotes, its own doubled, where it has what would end one. The way back is unquoted().
std::string quoted_field(std::string_view text);

/// The offset of the first byte that is not well-formed UTF-8; nothing when all are.
std::optional<size_t> invalid_utf8(std::string_view text);

}  // namespace sked
