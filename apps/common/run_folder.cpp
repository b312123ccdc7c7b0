#include "apps/common/run_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <vector>

#include "core/error.h"

namespace sked {

void RunFolder::create() const {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  require(!error, "run", "cannot create the folder ", path.string(), ": ", error.message());
  require(std::filesystem::is_directory(path, error), "run", path.string(), " is not a folder");
}

namespace {

void remove_file(const std::filesystem::path& file) {
  std::error_code error;
  std::filesystem::remove(file, error);
  require(!error, "run", "cannot remove ", file.string(), ": ", error.message());
}

}  // namespace

void RunFolder::clear_results() const {
  // last.safetensors goes first: without it nothing of the rest is ever resumed from.
  for (const std::string& file : {last(), best(), summary()}) remove_file(file);
}

void RunFolder::clear_temporaries() const {
  std::vector<std::filesystem::path> left;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(path, error)) {
    if (entry.path().extension() == ".tmp") left.push_back(entry.path());
  }
  for (const auto& file : left) remove_file(file);
}

MetricsLog::MetricsLog(const std::string& path)
    : path_(path), descriptor_(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666)) {
  if (descriptor_ < 0) fail_with("cannot be opened");
  struct stat status {};
  const bool held = ::flock(descriptor_, LOCK_EX | LOCK_NB) != 0;
  const bool unknown = ::fstat(descriptor_, &status) != 0;
  bytes_ = status.st_size;
  if (held || unknown) {
    const int error = errno;
    ::close(descriptor_);
    if (held) fail("run", path_, ": another process is writing to this run");
    errno = error;
    fail_with("cannot be examined");
  }
}

MetricsLog::~MetricsLog() { ::close(descriptor_); }

void MetricsLog::cut(int64_t bytes) {
  require(bytes <= bytes_, "run", path_, ": expected at least ", bytes, " bytes, as its checkpoint says, got ", bytes_);
  if (::ftruncate(descriptor_, bytes) != 0) fail_with("cannot be cut");
  bytes_ = bytes;
}

void MetricsLog::write(const nlohmann::ordered_json& record) {
  const std::string line = record.dump() + "\n";
  size_t done = 0;
  while (done < line.size()) {
    const ssize_t count = ::write(descriptor_, line.data() + done, line.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) {
      const int error = count < 0 ? errno : ENOSPC;
      // The failure to report is the write's; without this cut a resumed run cuts the half line itself.
      if (::ftruncate(descriptor_, bytes_) != 0) errno = error;
      errno = error;
      fail_with("cannot be written");
    }
    done += static_cast<size_t>(count);
  }
  bytes_ += static_cast<int64_t>(line.size());
}

int64_t MetricsLog::sync() {
  if (::fsync(descriptor_) != 0) fail_with("cannot be flushed to the disk");
  return bytes_;
}

void MetricsLog::fail_with(const char* what) const { fail("run", path_, ' ', what, ": ", std::strerror(errno)); }

}  // namespace sked
