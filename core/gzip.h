#pragma once
// Gzip files (RFC 1952) and zlib streams through zlib, where the build has it: core/gzip.cpp with zlib,
// core/gzip_none.cpp without.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "core/file.h"

namespace sked {

/// Do the bytes begin like a gzip file?
inline bool is_gzip(std::string_view bytes) { return bytes.starts_with("\x1f\x8b"); }

/// The decompressed contents of a gzip file of one or several members, read as a stream: memory does not grow with
/// them, and time is linear in what is read of the file and of its contents.
class GzipReader {
 public:
  /// Throws Error when the file cannot be opened, or when the program was built without zlib.
  explicit GzipReader(const std::string& path);
  ~GzipReader();
  GzipReader(const GzipReader&) = delete;
  GzipReader& operator=(const GzipReader&) = delete;

  /// Reads up to `count` bytes and returns how many there were: fewer only at the end, which is that of the last
  /// member; what follows it is ignored, as gzip does. Throws Error naming the file where its data is cut short or
  /// damaged (checksum, length).
  size_t read(void* bytes, size_t count);
  /// Bytes of the file that were read so far.
  uint64_t taken() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// The decompressed contents of `bytes`, a gzip file of one or several members; `path` is for messages. Throws Error
/// as GzipReader does, for bytes behind the last member, for no bytes at all, and for contents longer than `max_bytes`
/// (memory grows with the output, whatever the file claims).
std::string gunzip(std::string_view bytes, const std::string& path, uint64_t max_bytes);

/// The decompressed contents of a zlib stream (RFC 1950); nothing where it is damaged, holds more than `max_bytes`,
/// which are allocated, or where the program was built without zlib.
std::optional<std::string> inflated(std::string_view bytes, size_t max_bytes);

/// The contents of a plain or a gzip file, told apart by their first two bytes.
inline std::string read_maybe_gzip(const std::string& path, uint64_t max_bytes) {
  std::string bytes = read_file(path, max_bytes);
  return is_gzip(bytes) ? gunzip(bytes, path, max_bytes) : bytes;
}

}  // namespace sked
