#include "core/file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include "core/error.h"

namespace sked {
namespace {

std::string reason(int error) { return std::strerror(error); }

/// The folder part of a path, for calls that want a folder.
std::string folder_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

/// close() reports late write errors on network file systems; it must not be retried.
int close_descriptor(int& descriptor) { return ::close(std::exchange(descriptor, -1)); }

}  // namespace

int write_all(int descriptor, const void* bytes, size_t count) {
  for (size_t done = 0; done < count;) {
    const ssize_t n = ::write(descriptor, static_cast<const char*>(bytes) + done, count - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return n < 0 ? errno : ENOSPC;
    done += static_cast<size_t>(n);
  }
  return 0;
}

int write_all_at(int descriptor, uint64_t offset, const void* bytes, size_t count) {
  for (size_t done = 0; done < count;) {
    const ssize_t n =
        ::pwrite(descriptor, static_cast<const char*>(bytes) + done, count - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return n < 0 ? errno : ENOSPC;
    done += static_cast<size_t>(n);
  }
  return 0;
}

ssize_t read_all_at(int descriptor, uint64_t offset, void* bytes, size_t count) {
  size_t done = 0;
  while (done < count) {
    const ssize_t n =
        ::pread(descriptor, static_cast<char*>(bytes) + done, count - done, static_cast<off_t>(offset + done));
    if (n == 0) break;
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return -1;
    done += static_cast<size_t>(n);
  }
  return static_cast<ssize_t>(done);
}

InputFile::InputFile(const std::string& path) : path_(path) {
  descriptor_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor_ < 0) fail("read_file", "cannot read ", path, ": ", reason(errno));
  struct stat status {};
  int error = ::fstat(descriptor_, &status) == 0 ? 0 : errno;
  if (error == 0 && S_ISDIR(status.st_mode)) error = EISDIR;
  if (error != 0) {
    close_descriptor(descriptor_);
    fail("read_file", "cannot read ", path, ": ", reason(error));
  }
  if (S_ISREG(status.st_mode)) size_ = static_cast<uint64_t>(status.st_size);
}

InputFile::~InputFile() {
  if (descriptor_ >= 0) close_descriptor(descriptor_);
}

size_t InputFile::read_some(void* bytes, size_t count) {
  size_t done = 0;
  while (done < count) {
    const ssize_t n = ::read(descriptor_, static_cast<char*>(bytes) + done, count - done);
    if (n == 0) break;
    if (n < 0 && errno == EINTR) continue;
    require(n > 0, "read_file", "cannot read ", path_, ": ", reason(errno));
    done += static_cast<size_t>(n);
  }
  return done;
}

void InputFile::read(void* bytes, size_t count) {
  const size_t got = read_some(bytes, count);
  require(got == count, "read_file", path_, " ends early: expected ", count, " more bytes, got ", got);
}

size_t InputFile::read_at(uint64_t offset, void* bytes, size_t count) const {
  const ssize_t got = read_all_at(descriptor_, offset, bytes, count);
  if (got < 0) fail("read_file", "cannot read ", path_, ": ", reason(errno));
  return static_cast<size_t>(got);
}

void refuse_pipe(const std::string& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) return;  // who opens it says why
  require(S_ISREG(info.st_mode) || S_ISDIR(info.st_mode), "read_file", path, ": expected a regular file");
}

FileStamp stamp_of(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) fail("read_file", "cannot read ", path, ": ", reason(errno));
  const auto nanoseconds = [](const timespec& t) { return int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec; };
  return {static_cast<uint64_t>(status.st_size), nanoseconds(status.st_mtim), nanoseconds(status.st_ctim)};
}

std::string read_file(const std::string& path, uint64_t max_bytes) {
  constexpr size_t kChunk = size_t{1} << 20;
  InputFile file(path);
  const uint64_t expected = file.size().value_or(0);
  require(expected <= max_bytes, "read_file", path, " has ", expected, " bytes, expected at most ", max_bytes);

  // What the system said of the size is only where reading starts: files in /proc say 0, and a file may grow.
  std::string contents;
  for (size_t room = std::max(static_cast<size_t>(expected) + 1, kChunk);; room = kChunk) {
    const size_t before = contents.size();
    contents.resize(before + room);
    const size_t got = file.read_some(contents.data() + before, room);
    contents.resize(before + got);
    require(contents.size() <= max_bytes, "read_file", path, " is too long: expected at most ", max_bytes, " bytes");
    if (got < room) return contents;
  }
}

AtomicFile::AtomicFile(const std::string& path) : path_(path) {
  std::error_code missing;
  const std::string folder = std::filesystem::canonical(folder_of(path), missing).string();
  if (folder == "/dev" || folder.starts_with("/proc/"))  // /dev/stdout may lead to a file: its link would be replaced
    fail("write_file", "cannot write ", path, ": not a regular file: got a device");
  struct stat status {};
  if (::stat(path.c_str(), &status) == 0 && !S_ISREG(status.st_mode)) {
    if (S_ISDIR(status.st_mode)) fail_write(EISDIR);
    fail("write_file", "cannot write ", path, ": not a regular file");
  }
  if (take_over(path + std::string(kTemporary))) return;
  // Unique among processes and threads, so that two writers of one path cannot mix their bytes.
  static std::atomic<unsigned> counter{0};
  temporary_ = path + "." + std::to_string(::getpid()) + "." + std::to_string(counter++) + ".tmp";
  descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (descriptor_ < 0) fail_write(errno);
}

/// The usual temporary, new or as a killed process left it; false where another writer has it or there are no locks.
bool AtomicFile::take_over(const std::string& temporary) {
  constexpr int kTries = 100;
  for (int i = 0; i < kTries; ++i) {
    int file = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (file < 0) return false;
    const int refusal = ::flock(file, LOCK_EX | LOCK_NB) == 0 ? 0 : errno;
    if (refusal != 0 && refusal != EWOULDBLOCK) ::unlink(temporary.c_str());  // nobody uses it where nobody can lock
    struct stat held {
    }, named{};
    const bool usable = refusal == 0 && ::fstat(file, &held) == 0 && S_ISREG(held.st_mode) && held.st_nlink <= 1;
    const bool same =
        usable && ::stat(temporary.c_str(), &named) == 0 && named.st_ino == held.st_ino && named.st_dev == held.st_dev;
    if (same && ::ftruncate(file, 0) == 0) {
      descriptor_ = file;
      temporary_ = temporary;
      return true;
    }
    if (same) ::unlink(temporary.c_str());  // it cannot be emptied
    close_descriptor(file);
    if (!usable || same) return false;
    // Locked, but under another name by now: its writer was done between our two calls.
  }
  return false;
}

AtomicFile::~AtomicFile() {
  if (!temporary_.empty()) ::unlink(temporary_.c_str());  // while it is locked
  if (descriptor_ >= 0) close_descriptor(descriptor_);
}

void AtomicFile::fail_write(int error) const { fail("write_file", "cannot write ", path_, ": ", reason(error)); }

void AtomicFile::write(const void* bytes, size_t count) {
  require(descriptor_ >= 0, "write_file", path_, " was committed already");
  const int error = write_all(descriptor_, bytes, count);
  if (error != 0) fail_write(error);
}

void AtomicFile::commit() {
  require(descriptor_ >= 0, "write_file", path_, " was committed already");
  if (::fsync(descriptor_) != 0) fail_write(errno);
  // Late errors show when a descriptor is closed; a second one holds the lock until the name is given up.
  int lock = ::fcntl(descriptor_, F_DUPFD_CLOEXEC, 0);
  int error = close_descriptor(descriptor_) == 0 ? 0 : errno;
  if (error == 0 && ::rename(temporary_.c_str(), path_.c_str()) != 0) error = errno;
  if (error != 0) ::unlink(temporary_.c_str());
  temporary_.clear();
  if (lock >= 0) close_descriptor(lock);
  if (error == 0) error = flush_folder_of(path_);
  if (error != 0) fail_write(error);
}

int flush_folder_of(const std::string& path) {
  int folder = ::open(folder_of(path).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) return errno;
  const int error = ::fsync(folder) == 0 ? 0 : errno;
  close_descriptor(folder);
  return error == EINVAL ? 0 : error;  // some file systems cannot flush a folder
}

void write_file(const std::string& path, std::string_view contents) {
  AtomicFile file(path);
  file.write(contents);
  file.commit();
}

bool is_temporary_of(const std::string& name, const std::string& target) {
  if (!name.starts_with(target)) return false;
  const std::string_view rest = std::string_view(name).substr(target.size());
  return rest == kTemporary || (rest.starts_with('.') && rest.ends_with(".tmp") &&
                                rest.find_first_not_of(".0123456789") == rest.size() - 3 && rest.size() > 6);
}

bool stays_below(std::string_view path) {
  if (path.empty() || path.starts_with('/') || path.find('\0') != std::string_view::npos) return false;
  for (size_t begin = 0; begin <= path.size();) {
    const size_t end = std::min(path.find('/', begin), path.size());
    if (path.substr(begin, end - begin) == "..") return false;
    begin = end + 1;
  }
  return true;
}

std::optional<uint64_t> checked_product(std::span<const uint64_t> factors) {
  int64_t nonzero = 1;
  bool empty = false;
  for (const uint64_t factor : factors) {
    if (factor == 0) {
      empty = true;
    } else if (__builtin_mul_overflow(nonzero, factor, &nonzero)) {
      return std::nullopt;
    }
  }
  return empty ? 0 : static_cast<uint64_t>(nonzero);
}

}  // namespace sked
