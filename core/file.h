#pragma once
// Reading and writing files so that every failure is one line with the file's name and the system's reason, and so that
// a file written is either the old one or the whole new one.

#include <sys/types.h>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace sked {

// Every file format of the project is little-endian and is copied to memory as it is.
static_assert(std::endian::native == std::endian::little, "the file formats are written for little-endian machines");

/// Writes `count` bytes, however few the system takes at once. Returns 0, or the errno of what failed.
int write_all(int descriptor, const void* bytes, size_t count);

/// The same from `offset` on.
int write_all_at(int descriptor, uint64_t offset, const void* bytes, size_t count);

/// Up to `count` bytes from `offset` on. Returns how many there were, fewer only at the end; -1 with errno set.
ssize_t read_all_at(int descriptor, uint64_t offset, void* bytes, size_t count);

/// A file open for reading from its beginning. Throws Error when it cannot be opened or is a directory.
class InputFile {
 public:
  explicit InputFile(const std::string& path);
  ~InputFile();
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  const std::string& path() const { return path_; }
  /// Bytes of a regular file when it was opened; nothing for a pipe.
  std::optional<uint64_t> size() const { return size_; }
  /// Reads up to `count` bytes and returns how many there were: fewer only at the end of the file.
  size_t read_some(void* bytes, size_t count);
  /// Reads exactly `count` bytes. Throws Error when the file ends before.
  void read(void* bytes, size_t count);
  /// Up to `count` bytes from `offset` on, without moving the place of read(); safe from several threads. Returns how
  /// many there were: fewer only at the end of the file. Not for pipes.
  size_t read_at(uint64_t offset, void* bytes, size_t count) const;

 private:
  std::string path_;
  int descriptor_ = -1;
  std::optional<uint64_t> size_;
};

/// Throws Error where what is at `path` is a pipe, a socket or a device: opening one may wait for ever.
void refuse_pipe(const std::string& path);

/// How long a file is, and when its bytes and when anything about it was last changed: the second cannot be set back,
/// as tar, cp -p and touch do with the first.
struct FileStamp {
  uint64_t bytes = 0;
  int64_t modified = 0, changed = 0;  // nanoseconds since 1970
};
/// Throws Error when there is no such file.
FileStamp stamp_of(const std::string& path);

/// The whole file. Throws Error when it is not readable, or longer than `max_bytes` (no more than that is allocated).
std::string read_file(const std::string& path, uint64_t max_bytes);

/// What the usual temporary of a file is called behind the file's name. It is locked while somebody has it.
inline constexpr std::string_view kTemporary = ".skedastic.tmp";

/// A file that appears under its name only when it is complete: bytes go to a temporary file in the same folder, and
/// commit() flushes it to the disk, renames it over `path` and flushes the folder. Destroyed without commit(), the
/// temporary is removed and what was at `path` is untouched; one that a killed process left is used by the next writer
/// of `path`. A symbolic link at `path` is replaced by the file.
/// Every member throws Error naming `path` and the system's reason (full disk, read-only folder, size limit …).
class AtomicFile {
 public:
  explicit AtomicFile(const std::string& path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(const void* bytes, size_t count);
  void write(std::string_view bytes) { write(bytes.data(), bytes.size()); }
  void commit();

 private:
  bool take_over(const std::string& temporary);
  [[noreturn]] void fail_write(int error) const;

  std::string path_, temporary_;
  int descriptor_ = -1;
};

/// Flushes the folder of `path`: what was renamed to it is durable from then on. Returns 0, or the errno of what
/// failed.
int flush_folder_of(const std::string& path);

/// Writes the whole file through an AtomicFile.
void write_file(const std::string& path, std::string_view contents);

/// Is `name` what an AtomicFile of `target` calls its temporary? Both without their folder.
bool is_temporary_of(const std::string& name, const std::string& target);

/// Is `path` relative, and does it stay below the folder it is relative to (no `..`, no NUL)? For names read from
/// files.
bool stays_below(std::string_view path);

/// The product of `factors`, or nothing when that of the factors other than 0 does not fit an int64 (as Shape demands).
/// For sizes read from files: check, then allocate.
std::optional<uint64_t> checked_product(std::span<const uint64_t> factors);

}  // namespace sked
