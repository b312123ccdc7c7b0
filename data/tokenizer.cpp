#include "data/tokenizer.h"

#include <algorithm>
#include <array>
#include <optional>

#include "core/error.h"
#include "core/text.h"

namespace sked {
namespace {

/// Unicode's property White_Space (PropList.txt).
bool is_white_space(char32_t c) {
  constexpr std::array<char32_t, 8> kOthers{0x20, 0x85, 0xA0, 0x1680, 0x2028, 0x2029, 0x202F, 0x205F};
  return (c >= 0x09 && c <= 0x0D) || (c >= 0x2000 && c <= 0x200A) || c == 0x3000 ||
         std::ranges::find(kOthers, c) != kOthers.end();
}

}  // namespace

bool is_blank(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const std::optional<CodePoint> point = code_point(text, at);
    if (!point || !is_white_space(point->value)) return false;
    at += point->bytes;
  }
  return true;
}

void check_caption(std::string_view caption, const std::string& source) {
  constexpr size_t kLongest = size_t{1} << 16;
  // SentencePiece counts the characters of a word in 16 bits, after a normalization that makes up to 6 of a byte.
  constexpr size_t kLongestWord = 8192;
  require(caption.size() <= kLongest, "caption", source, ": ", caption.size(), " bytes, expected at most ", kLongest);
  size_t word = 0;  // where it begins
  for (size_t at = 0; at < caption.size();) {
    if (is_blank(caption.substr(at, 1))) word = at + 1;
    require(at - word < kLongestWord || word > at, "caption", source, ": a word of more than ", kLongestWord,
            " bytes from byte ", word, " on");
    const std::optional<CodePoint> point = code_point(caption, at);
    require(point.has_value(), "caption", source, ": not UTF-8 at byte ", at);
    require(point->value != 0, "caption", source, ": expected text, got a NUL at byte ", at);
    at += point->bytes;
  }
  require(!is_blank(caption), "caption", source, ": expected text, got ",
          caption.empty() ? "none" : "only white space");
}

}  // namespace sked
