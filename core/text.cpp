#include "core/text.h"

#include <locale.h>
#include <wchar.h>

#include <algorithm>
#include <cstdio>
#include <numeric>
#include <utility>

#include "core/error.h"

namespace sked {

size_t edit_distance(std::string_view a, std::string_view b) {
  // Three rows of the table: row[j] is the distance of the first i characters of a to the first j of b.
  std::vector<size_t> row(b.size() + 1), above(row.size()), above2(row.size());
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    std::swap(above2, above);
    std::swap(above, row);
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = above[j - 1] + (a[i - 1] != b[j - 1]);
      row[j] = std::min({replaced, row[j - 1] + 1, above[j] + 1});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) row[j] = std::min(row[j], above2[j - 2] + 1);
    }
  }
  return row[b.size()];
}

std::string bare(std::string_view name) {
  std::string letters = lower_case(name);
  std::erase_if(letters, [](char c) {
    return static_cast<unsigned char>(c) < 0x80 && !(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9');
  });
  return letters;
}

namespace {

/// Is it `name` behind what turns a word into its opposite: asymmetric, no-deterministic?
bool is_negation(std::string_view typed, std::string_view name) {
  if (typed.size() <= name.size() || !typed.ends_with(name)) return false;
  const std::string_view before = typed.substr(0, typed.size() - name.size());
  return before == "a" || before == "no" || before == "non" || before == "not" || before == "un";
}

}  // namespace

std::string nearest(std::string_view word, const std::vector<std::string>& candidates) {
  constexpr size_t kMost = 256;  // bytes: a name of megabytes, out of a file, is near to nothing
  constexpr size_t kFew = 4;     // letters: fewer are within anything, and count at the beginning
  word = word.substr(0, kMost);
  const std::string typed = bare(word);
  // How far a candidate is: the kind of likeness, and within it how much.
  const auto distance = [&](const std::string& candidate) {
    const std::string name = bare(candidate.substr(0, kMost));
    if (name == typed) return std::pair(size_t{0}, edit_distance(word, candidate.substr(0, kMost)));
    if (name.find(typed) < (typed.size() < kFew ? 1 : name.npos)) return std::pair(size_t{1}, name.size());
    if (name.size() >= kFew && typed.starts_with(name)) return std::pair(size_t{2}, typed.size() - name.size());
    if (is_negation(typed, name)) return std::pair(size_t{4}, typed.size());
    const size_t apart = edit_distance(typed, name);
    return std::pair(3 * apart < std::max(typed.size(), name.size()) ? size_t{3} : size_t{4}, apart);
  };
  const auto best = std::ranges::min_element(candidates, {}, distance);
  return best == candidates.end() || typed.empty() || distance(*best).first == 4 ? std::string() : *best;
}

std::string did_you_mean(std::string_view word, const std::vector<std::string>& candidates) {
  const std::string near = nearest(word, candidates);
  return near.empty() ? near : " (did you mean \"" + near + "\"?)";
}

std::string excerpt(std::string_view text) {
  constexpr size_t kMost = 80;
  size_t end = std::min(text.size(), kMost);
  while (end < text.size() && end > kMost - 4 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  std::string shown = valid_utf8(text.substr(0, end));
  std::ranges::replace_if(
      shown, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }, '?');
  return text.size() > end ? shown + "..." : shown;
}

std::string counted(size_t n, const std::string& what) { return std::to_string(n) + " " + what + (n == 1 ? "" : "s"); }

std::string join(const std::vector<std::string>& words, std::string_view separator) {
  std::string text;
  for (const std::string& word : words) {
    if (&word != &words.front()) text += separator;
    text += word;
  }
  return text;
}

std::string lower_case(std::string_view text) {
  std::string lower(text);
  for (char& c : lower)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + ('a' - 'A'));
  return lower;
}

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kBlanks = " \t\r\n";
  const size_t begin = text.find_first_not_of(kBlanks);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kBlanks) - begin + 1);
}

std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    if (line.ends_with('\r')) line.remove_suffix(1);
    lines.push_back(line);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

bool is_utf16(std::string_view text) {
  const auto is_nul = [&](size_t i) { return text[i] == '\0'; };
  const bool ascii = text.size() >= 4 && is_nul(0) == is_nul(2) && is_nul(1) == is_nul(3) && is_nul(0) != is_nul(1);
  return ascii || text.starts_with("\xFF\xFE") || text.starts_with("\xFE\xFF");
}

std::vector<std::string_view> file_lines(std::string_view text, const std::string& source) {
  constexpr std::string_view kMark = "\xEF\xBB\xBF", kGzip = "\x1F\x8B";
  require(!is_utf16(text), "text", source, ": text in UTF-16, expected UTF-8");
  require(!text.starts_with(kGzip), "text", source, ": a gzipped file, expected text (gunzip unpacks it)");
  if (text.starts_with(kMark)) text.remove_prefix(kMark.size());
  require(text.find('\n') != text.npos || trimmed(text).find('\r') == text.npos, "text", source,
          ": lines that end in \\r alone, as on old Macs: expected \\n or \\r\\n");
  std::vector<std::string_view> lines = lines_of(text);
  while (!lines.empty() && trimmed(lines.back()).empty()) lines.pop_back();
  return lines;
}

std::optional<std::string> unquoted(std::string_view field) {
  if (field.size() < 2 || field.front() != '"' || field.back() != '"') return std::nullopt;
  const std::string_view inside = field.substr(1, field.size() - 2);
  std::string text;
  for (size_t i = 0; i < inside.size(); ++i) {
    if (inside[i] == '"' && (++i == inside.size() || inside[i] != '"')) return std::nullopt;
    text += inside[i];
  }
  return text;
}

std::optional<CodePoint> code_point(std::string_view text, size_t at) {
  if (at >= text.size()) return std::nullopt;
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[at + i]); };
  const unsigned lead = byte(0);
  if (lead < 0x80) return CodePoint{lead, 1};
  const size_t bytes = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  if (lead < 0xC2 || lead > 0xF4 || bytes > text.size() - at) return std::nullopt;
  char32_t value = lead & (0x7Fu >> bytes);
  for (size_t i = 1; i < bytes; ++i) {
    if ((byte(i) & 0xC0u) != 0x80u) return std::nullopt;
    value = value << 6 | (byte(i) & 0x3Fu);
  }
  const char32_t least = bytes == 2 ? 0x80 : bytes == 3 ? 0x800 : 0x10000;
  const bool surrogate = value >= 0xD800 && value <= 0xDFFF;
  if (value < least || value > 0x10FFFF || surrogate) return std::nullopt;
  return CodePoint{value, bytes};
}

std::string valid_utf8(std::string_view text) {
  std::string valid;
  for (size_t at = 0; at < text.size();) {
    const std::optional<CodePoint> point = code_point(text, at);
    constexpr std::string_view kDigits = "0123456789ABCDEF";
    const auto byte = static_cast<unsigned char>(text[at]);
    if (point)
      valid += text.substr(at, point->bytes);
    else
      valid.append("\\x").append({kDigits[byte >> 4], kDigits[byte & 15]});
    at += point ? point->bytes : 1;
  }
  return valid;
}

std::string printable(std::string_view text) {
  const std::string valid = valid_utf8(text);
  std::string result;
  for (size_t at = 0; at < valid.size();) {
    const CodePoint point = *code_point(valid, at);
    const char32_t c = point.value;
    const bool control = c < 0x20 || (c >= 0x7F && c < 0xA0);
    const bool separates = c >= 0x2028 && c <= 0x202E, isolates = c >= 0x2066 && c <= 0x2069;
    if (control || separates || isolates) {
      char code[16];
      std::snprintf(code, sizeof code, c < 0x80 ? "\\x%02X" : "\\u%04X", static_cast<unsigned>(c));
      result += code;
    } else {
      result.append(valid, at, point.bytes);
    }
    at += point.bytes;
  }
  return result;
}

/// The size of a code point, 1 for what has none, and the bytes it takes.
static std::pair<size_t, size_t> measure(std::string_view text, size_t at) {
  static const locale_t utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", nullptr);
  const std::optional<CodePoint> point = code_point(text, at);
  if (!point || point->value < 0x80 || utf8 == nullptr) return {1, point ? point->bytes : 1};
  const locale_t before = uselocale(utf8);
  const int width = wcwidth(static_cast<wchar_t>(point->value));
  uselocale(before);
  return {width < 0 ? 1 : static_cast<size_t>(width), point->bytes};
}

size_t display_width(std::string_view text) {
  size_t columns = 0;
  for (size_t at = 0; at < text.size();) {
    const auto [width, bytes] = measure(text, at);
    columns += width, at += bytes;
  }
  return columns;
}

std::string cut_to_columns(std::string_view text, size_t columns) {
  size_t at = 0;
  for (size_t used = 0; at < text.size();) {
    const auto [width, bytes] = measure(text, at);
    if (used + width > columns) break;
    used += width, at += bytes;
  }
  return std::string(text.substr(0, at));
}

std::string wrapped(std::string_view text, size_t columns, size_t indent) {
  std::string lines;
  for (size_t used = indent; !text.empty();) {
    const std::string_view word = text.substr(0, text.find(' '));
    text.remove_prefix(std::min(word.size() + 1, text.size()));
    if (word.empty()) continue;
    const size_t width = display_width(word);
    const bool first = used == indent;
    if (!first && used + 1 + width > columns)
      lines.append("\n").append(indent, ' '), used = indent;
    else if (!first)
      lines += ' ', ++used;
    lines += word, used += width;
  }
  return lines;
}

std::string quoted_field(std::string_view text) {
  if (text.find_first_of("\",\r\n") == std::string_view::npos) return std::string(text);
  std::string field = "\"";
  for (const char c : text) field.append(c == '"' ? 2 : 1, c);
  return field + '"';
}

std::optional<size_t> invalid_utf8(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const std::optional<CodePoint> point = code_point(text, at);
    if (!point) return at;
    at += point->bytes;
  }
  return std::nullopt;
}

}  // namespace sked
