#include "apps/common/config/log.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <exception>
#include <string_view>

#include "core/error.h"

namespace sked {
namespace {

struct Log {
  std::string path;
  int file = -1;
  int error = 0;  // of the first write that failed
};
Log log;

/// One of the standard streams. They live as long as the process: stdio flushes them at its very end.
struct Stream {
  int terminal;
  std::string line = {};  // since the last line end
};

/// Writes all of it; false, with errno, where that failed.
bool write_all(int file, std::string_view text) {
  while (!text.empty()) {
    const ssize_t count = write(file, text.data(), text.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return false;
    text.remove_prefix(static_cast<size_t>(count));
  }
  return true;
}

/// The line as it stands on a terminal at its end: behind the last return, without escape sequences.
void keep(std::string& line) {
  std::string shown;
  for (size_t at = line.rfind('\r') == std::string::npos ? 0 : line.rfind('\r') + 1; at < line.size(); ++at) {
    if (line[at] != '\033')
      shown += line[at];
    else  // ESC [ … letter
      while (at + 1 < line.size() && !std::isalpha(static_cast<unsigned char>(line[at]))) ++at;
  }
  const bool drawn = line.find('\r') != std::string::npos;
  line.clear();
  if (drawn && shown.empty()) return;
  if (log.file >= 0 && log.error == 0 && !write_all(log.file, shown + "\n")) log.error = errno;
}

ssize_t write_both(void* cookie, const char* data, size_t size) {
  auto& stream = *static_cast<Stream*>(cookie);
  const bool written = write_all(stream.terminal, {data, size});
  const int error = errno;
  try {
    for (const char c : std::string_view(data, size)) c == '\n' ? keep(stream.line) : stream.line.push_back(c);
  } catch (const std::exception&) {  // there is no memory for it
    log.error = log.error == 0 ? ENOMEM : log.error;
  }
  errno = error;
  return written ? static_cast<ssize_t>(size) : 0;
}

FILE* doubled(int terminal, int buffering) {
  auto* stream = new Stream{terminal};
  FILE* file = fopencookie(stream, "w", {.read = nullptr, .write = write_both, .seek = nullptr, .close = nullptr});
  require(file != nullptr, "log", "not enough memory");
  std::setvbuf(file, nullptr, buffering, BUFSIZ);
  return file;
}

}  // namespace

void log_to(const std::string& path, bool results) {
  log.path = path;
  log.file = open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
  require(log.file >= 0, "log", "--log ", path, ": ", std::strerror(errno));
  std::fflush(stdout);
  if (results) stdout = doubled(STDOUT_FILENO, isatty(STDOUT_FILENO) != 0 ? _IOLBF : _IOFBF);
  stderr = doubled(STDERR_FILENO, _IONBF);
}

std::string end_log() {
  if (log.file < 0) return {};
  std::fflush(stdout);
  if (close(log.file) != 0 && log.error == 0) log.error = errno;
  log.file = -1;
  if (log.error == 0) return {};
  return "[log] " + log.path + ": not all lines could be written: " + std::strerror(log.error);
}

}  // namespace sked
