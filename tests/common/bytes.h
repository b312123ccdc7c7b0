#pragma once
// Bytes of files that tests write by hand.

#include <cstdint>
#include <string>

namespace sked::test {

/// CRC-32 of gzip, zip and PNG files (RFC 1952, section 8).
inline uint32_t crc32(const std::string& bytes) {
  uint32_t crc = ~0U;
  for (const char c : bytes) {
    crc ^= static_cast<unsigned char>(c);
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ ((crc & 1) != 0 ? 0xEDB88320U : 0);
  }
  return ~crc;
}

/// The lowest `bytes` bytes of `value`, the least first; zeros beyond its eight.
inline std::string little_endian(uint64_t value, size_t bytes) {
  std::string text;
  for (size_t i = 0; i < bytes; ++i, value >>= 8) text += static_cast<char>(value);
  return text;
}

}  // namespace sked::test
