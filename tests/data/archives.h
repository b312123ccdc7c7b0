#pragma once
// Tar archives written by hand, so that a test can lie in them.

#include <cstdint>
#include <cstdio>
#include <string>

#include "tests/common/mutate.h"

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

inline std::string tar_end() { return std::string(1024, '\0'); }

}  // namespace sked::test
