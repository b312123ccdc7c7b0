#pragma once
// Tar archives written by hand, so that a test can lie in them.

#include <cstdint>
#include <cstdio>
#include <string>

namespace sked::test {

/// The header with a right checksum.
inline std::string tar_checked(std::string block) {
  block.replace(148, 8, "        ");
  unsigned sum = 0;
  for (const char c : block) sum += static_cast<unsigned char>(c);
  char octal[16];
  std::snprintf(octal, sizeof octal, "%06o", sum);
  return block.replace(148, 7, std::string(octal) + '\0');
}

/// A ustar header block with a right checksum.
inline std::string tar_header(const std::string& name, int64_t size, char type = '0', const std::string& prefix = "") {
  std::string block(512, '\0');
  block.replace(0, name.size(), name);
  block.replace(100, 7, "0000644");
  char octal[16];
  std::snprintf(octal, sizeof octal, "%011llo", static_cast<long long>(size));
  block.replace(124, 11, octal, 11);
  block[156] = type;
  block.replace(257, 8, std::string("ustar\00000", 8));
  block.replace(345, prefix.size(), prefix);
  return tar_checked(block);
}

inline std::string tar_padded(const std::string& data) {
  return data + std::string((512 - data.size() % 512) % 512, '\0');
}

inline std::string tar_member(const std::string& name, const std::string& data, char type = '0') {
  return tar_header(name, static_cast<int64_t>(data.size()), type) + tar_padded(data);
}

/// CRC-32 of a gzip file (RFC 1952, section 8).
inline uint32_t crc32(const std::string& data) {
  uint32_t crc = ~0u;
  for (const char c : data) {
    crc ^= static_cast<unsigned char>(c);
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0);
  }
  return ~crc;
}

inline std::string little_endian(uint32_t value, int bytes) {
  std::string text;
  for (int i = 0; i < bytes; ++i) text += static_cast<char>(value >> 8 * i);
  return text;
}

/// A gzip member that holds `data` as it is, in stored blocks.
inline std::string gzipped(const std::string& data) {
  constexpr size_t kMost = 65535;
  std::string bytes("\x1f\x8b\x08\0\0\0\0\0\0\x03", 10);
  for (size_t at = 0; at < data.size() || at == 0; at += kMost) {
    const std::string block = data.substr(at, kMost);
    const auto size = static_cast<uint32_t>(block.size());
    bytes += std::string(1, at + kMost >= data.size() ? '\1' : '\0') + little_endian(size, 2) +
             little_endian(~size, 2) + block;
  }
  return bytes + little_endian(crc32(data), 4) + little_endian(static_cast<uint32_t>(data.size()), 4);
}

inline std::string tar_end() { return std::string(1024, '\0'); }

}  // namespace sked::test
