// Preloaded into a program (LD_PRELOAD), it counts the calls by which the program changes files below a folder, and
// makes one of them fail.
//
//   STORM_FOLDER  only files below it
//   STORM_LOG     gets a line `number call path` for each call, from 1 on
//   STORM_CALL    the number of the call that fails
//   STORM_HOW     ENOSPC, EDQUOT: it and every later one that needs room fails, as on a full disk
//                 EIO: it alone fails          short: it alone writes half of its bytes
//                 KILL, INT: the program gets the signal there, and the call is made
//                 no-locks: no call fails, but no file can be locked

#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

enum class Answer { make, fail, half };

std::atomic<long> calls{0};

/// Nothing of the program's own state is used, and nothing is allocated: the calls come from anywhere.
Answer count(const char* call, const char* path, bool needs_room) {
  const char *folder = std::getenv("STORM_FOLDER"), *log = std::getenv("STORM_LOG");
  const char *chosen = std::getenv("STORM_CALL"), *how = std::getenv("STORM_HOW");
  if (folder == nullptr || std::strncmp(path, folder, std::strlen(folder)) != 0) return Answer::make;
  const long number = ++calls;
  if (log != nullptr) {
    char line[4400];
    const int length = std::snprintf(line, sizeof line, "%ld %s %s\n", number, call, path);
    const long file = syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    syscall(SYS_write, file, line, static_cast<size_t>(length));
    syscall(SYS_close, file);
  }
  if (chosen == nullptr || how == nullptr || number < std::atol(chosen)) return Answer::make;
  const auto is = [&](const char* word) { return std::strcmp(how, word) == 0; };
  if (needs_room && (is("ENOSPC") || is("EDQUOT"))) {
    errno = is("ENOSPC") ? ENOSPC : EDQUOT;
    return Answer::fail;
  }
  if (number > std::atol(chosen)) return Answer::make;
  if (is("EIO")) {
    errno = EIO;
    return Answer::fail;
  }
  if (is("KILL")) kill(getpid(), SIGKILL);
  if (is("INT")) kill(getpid(), SIGINT);
  return is("short") ? Answer::half : Answer::make;
}

Answer count(const char* call, int descriptor, bool needs_room) {
  char name[64], path[4096];
  std::snprintf(name, sizeof name, "/proc/self/fd/%d", descriptor);
  const ssize_t length = readlink(name, path, sizeof path - 1);
  path[length > 0 ? length : 0] = 0;
  return count(call, path, needs_room);
}

/// The C library's own.
template <class Function>
Function* next(Function*, const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

}  // namespace

extern "C" {

int open(const char* path, int flags, ...) {
  mode_t mode = 0;
  if ((flags & O_CREAT) != 0) {
    va_list more;
    va_start(more, flags);
    mode = va_arg(more, mode_t);
    va_end(more);
    if (count("open", path, true) == Answer::fail) return -1;
  }
  return next(&open, "open")(path, flags, mode);
}

ssize_t write(int descriptor, const void* bytes, size_t size) {
  const Answer answer = count("write", descriptor, true);
  if (answer == Answer::fail) return -1;
  return next(&write, "write")(descriptor, bytes, answer == Answer::half && size > 1 ? size / 2 : size);
}

int fsync(int descriptor) {
  return count("fsync", descriptor, true) == Answer::fail ? -1 : next(&fsync, "fsync")(descriptor);
}

int ftruncate(int descriptor, off_t length) noexcept {
  if (count("ftruncate", descriptor, false) == Answer::fail) return -1;
  return syscall(SYS_ftruncate, descriptor, length) == 0 ? 0 : -1;
}

/// The descriptor is gone all the same, as after a failure of Linux's own.
int close(int descriptor) {
  const Answer answer = count("close", descriptor, false);
  const int error = errno, status = next(&close, "close")(descriptor);
  if (answer != Answer::fail) return status;
  errno = error;
  return -1;
}

int flock(int descriptor, int operation) noexcept {
  const char* how = std::getenv("STORM_HOW");
  if (how == nullptr || std::strcmp(how, "no-locks") != 0)
    return syscall(SYS_flock, descriptor, operation) == 0 ? 0 : -1;
  errno = ENOLCK;
  return -1;
}

int rename(const char* from, const char* to) noexcept {
  if (count("rename", to, true) == Answer::fail) return -1;
  return syscall(SYS_rename, from, to) == 0 ? 0 : -1;
}

int mkdir(const char* path, mode_t mode) noexcept {
  if (count("mkdir", path, true) == Answer::fail) return -1;
  return syscall(SYS_mkdir, path, mode) == 0 ? 0 : -1;
}
}
