#include "tests/common/mutate.h"

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <iterator>

#include "tests/common/bytes.h"

namespace sked::test {
namespace {

size_t place(const std::string& s, Rng& rng) { return s.empty() ? 0 : rng.below(static_cast<uint32_t>(s.size())); }

/// A length: mostly short.
size_t stretch(Rng& rng) { return 1 + rng.below(1u << rng.below(10)); }

constexpr uint64_t kExtremes[] = {0,
                                  1,
                                  0x7f,
                                  0x80,
                                  0xff,
                                  0x7fff,
                                  0x8000,
                                  0xffff,
                                  0x10000,
                                  0x7fffffff,
                                  0x80000000,
                                  0xffffffff,
                                  0x100000000,
                                  0x7fffffffffffffff,
                                  0x8000000000000000,
                                  0xfffffffffffffff0,
                                  0xffffffffffffffff};

void set_integer(std::string& s, Rng& rng) {
  const size_t bytes = size_t{1} << rng.below(4);
  std::string value = little_endian(kExtremes[rng.below(std::size(kExtremes))], bytes);
  if (rng.below(2) == 0) std::ranges::reverse(value);
  if (s.size() < bytes) return;
  s.replace(place(s, rng) % (s.size() - bytes + 1), bytes, value);
}

void change_bytes(std::string& s, Rng& rng) {
  const size_t at = place(s, rng), length = stretch(rng);
  switch (rng.below(8)) {
    case 0:
      if (!s.empty()) s[at] = static_cast<char>(s[at] ^ (1 << rng.below(8)));
      break;
    case 1:
      if (!s.empty()) s[at] = static_cast<char>(rng.below(256));
      break;
    case 2:
      s.erase(at, length);
      break;
    case 3:
      s.insert(at, s.substr(at, length));
      break;
    case 4:
      s.insert(at, length, static_cast<char>(rng.below(256)));
      break;
    case 5:
      s.replace(at, length, s.substr(place(s, rng), length));
      break;
    case 6:
      s.resize(rng.below(8) == 0 ? 0 : at);
      break;
    default:
      set_integer(s, rng);
      break;
  }
}

constexpr const char* kWords[] = {"null",
                                  "true",
                                  "-1",
                                  "0",
                                  "1e999",
                                  "-0.0",
                                  "1e-320",
                                  "NaN",
                                  "9223372036854775807",
                                  "-9223372036854775808",
                                  "18446744073709551616",
                                  "\"\"",
                                  "[]",
                                  "{}",
                                  "[0]",
                                  "\"a\":1,",
                                  "\\u0000",
                                  "\\ud800",
                                  "\xff",
                                  "\xc0\x80",
                                  "\t",
                                  "\n",
                                  "\r\n",
                                  "../../x",
                                  "/dev/zero",
                                  "%s%n",
                                  ",",
                                  ":",
                                  "\""};

void change_words(std::string& s, Rng& rng) {
  const size_t at = place(s, rng);
  const auto in_word = [&](size_t i) {
    return std::isalnum(static_cast<unsigned char>(s[i])) != 0 || s[i] == '.' || s[i] == '-' || s[i] == '_';
  };
  size_t begin = std::min(at, s.size()), end = begin;
  while (end < s.size() && !in_word(end)) ++end;
  for (begin = end; begin > 0 && in_word(begin - 1);) --begin;
  while (end < s.size() && in_word(end)) ++end;
  switch (rng.below(4)) {
    case 0:
      s.replace(begin, end - begin, kWords[rng.below(std::size(kWords))]);
      break;
    case 1:
      s.insert(at, kWords[rng.below(std::size(kWords))]);
      break;
    case 2:
      s.replace(begin, end - begin, s.substr(place(s, rng), end - begin));
      break;
    default: {
      const size_t depth = size_t{1} << rng.below(18);
      const bool array = rng.below(2) == 0, closed = rng.below(2) == 0;
      std::string nested;
      for (size_t i = 0; i < depth; ++i) nested += array ? "[" : "{\"a\":";
      if (closed) nested += "0" + std::string(depth, array ? ']' : '}');
      s.replace(begin, end - begin, nested);
    }
  }
}

}  // namespace

std::string mutated(std::string original, bool text, Rng& rng) {
  for (uint32_t i = 0, changes = 1 + rng.below(4); i < changes; ++i) {
    if (text && rng.below(2) == 0)
      change_words(original, rng);
    else
      change_bytes(original, rng);
  }
  return original;
}

std::string gzipped(const std::string& bytes) {
  constexpr size_t kMost = 65535;  // of a block
  std::string all("\x1f\x8b\x08\0\0\0\0\0\0\x03", 10);
  for (size_t at = 0; at == 0 || at < bytes.size(); at += kMost) {
    const size_t length = std::min(kMost, bytes.size() - at);
    all.push_back(at + length == bytes.size() ? 1 : 0);
    all += little_endian(length, 2) + little_endian(~length, 2) + bytes.substr(at, length);
  }
  return all + little_endian(crc32(bytes), 4) + little_endian(bytes.size(), 4);
}

std::string with_checksums(std::string archive) {
  for (size_t at = 0; at + 512 <= archive.size(); at += 512) {
    if (archive.compare(at + 257, 5, "ustar") != 0) continue;
    unsigned sum = 0;
    for (size_t i = 0; i < 512; ++i) sum += i >= 148 && i < 156 ? ' ' : static_cast<uint8_t>(archive[at + i]);
    char octal[8];
    std::snprintf(octal, sizeof octal, "%06o", sum & 0777777);
    archive.replace(at + 148, 7, octal, 7);
  }
  return archive;
}

}  // namespace sked::test
