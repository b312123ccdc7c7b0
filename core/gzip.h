#pragma once
// Gzip files (RFC 1952) through zlib, where the build has it: core/gzip.cpp with zlib, core/gzip_none.cpp without.

#include <cstdint>
#include <string>
#include <string_view>

#include "core/file.h"

namespace sked {

/// Do the bytes begin like a gzip file?
inline bool is_gzip(std::string_view bytes) { return bytes.starts_with("\x1f\x8b"); }

/// The decompressed contents of `bytes`, a gzip file of one or several members; `path` is for messages. Throws Error
/// when the data is cut short, damaged (checksum, length), followed by anything else, or longer than `max_bytes` when
/// decompressed (memory grows with the output, whatever the file claims), or when the program was built without zlib.
std::string gunzip(std::string_view bytes, const std::string& path, uint64_t max_bytes);

/// The contents of a plain or a gzip file, told apart by their first two bytes.
inline std::string read_maybe_gzip(const std::string& path, uint64_t max_bytes) {
  std::string bytes = read_file(path, max_bytes);
  return is_gzip(bytes) ? gunzip(bytes, path, max_bytes) : bytes;
}

}  // namespace sked
