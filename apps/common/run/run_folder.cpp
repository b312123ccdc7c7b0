#include "apps/common/run/run_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "apps/common/config/fields.h"
#include "apps/common/config/progress.h"
#include "core/error.h"
#include "core/file.h"

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

std::vector<std::string> RunFolder::files() const {
  return {config(), metrics(), metrics_table(), summary(), init(), last(), previous(), best(), calibration()};
}

std::vector<std::string> RunFolder::event_files() const {
  std::vector<std::string> found;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(path, error)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with(kEvents) && name.ends_with(kOwnEvents)) found.push_back(entry.path().string());
  }
  return found;
}

std::string RunFolder::event_file(int64_t number) const {
  return (path / (std::string(kEvents) + std::to_string(number) + std::string(kOwnEvents))).string();
}

void RunFolder::clear_results() const {
  // Checkpoints go first, the last behind the one before it: what is left of them is never resumed from halfway.
  for (const std::string& file : {previous(), last(), best(), summary(), metrics_table(), init(), calibration()})
    remove_file(file);
}

void RunFolder::clear_summary() const {
  for (const std::string& file : {summary(), calibration()}) remove_file(file);
}

void RunFolder::clear_temporaries() const {
  std::vector<std::filesystem::path> left;
  std::vector<std::string> taken_over;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(path, error)) {
    for (const std::string& file : files()) {
      if (entry.path() == file + std::string(kTemporary))
        taken_over.push_back(file);
      else if (is_temporary_of(entry.path().filename().string(), std::filesystem::path(file).filename().string()))
        left.push_back(entry.path());
    }
  }
  // A process that looks whether it could write here may hold one: only who has its lock may remove it.
  for (const std::string& file : taken_over) const AtomicFile probe(file);
  for (const auto& file : left) remove_file(file);
}

void RunFolder::keep_last_as(const std::string& file) const {
  namespace fs = std::filesystem;
  if (!fs::exists(last())) return;
  // A second name for the same bytes, so that there is no moment without last.safetensors; a copy where there are none.
  const fs::path temporary = previous() + ".0.0.tmp";
  std::error_code error;
  fs::remove(temporary, error);
  fs::create_hard_link(last(), temporary, error);
  if (error) fs::copy_file(last(), temporary, error);
  if (!error) fs::rename(temporary, file, error);
  require(!error, "run", "cannot write ", file, ": ", error.message());
  fs::remove(temporary, error);  // renaming one name of a file over another does nothing
}

bool has_another_process(const RunFolder& folder) {
  const int file = ::open(folder.metrics().c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  if (file < 0) return false;
  const bool held = ::flock(file, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
  ::close(file);
  return held;
}

MetricsLog::MetricsLog(const RunFolder& folder) : folder_(folder.path.string()), path_(folder.metrics()) {
  created_folder_ = !std::filesystem::exists(folder.path);
  folder.create();
  hold();
}

void MetricsLog::hold() {
  for (;;) {
    created_ = !std::filesystem::exists(path_);
    descriptor_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0666);
    require(descriptor_ >= 0 || errno != ELOOP, "run", path_, " is a symbolic link: expected a file of the run's own");
    if (descriptor_ < 0) fail_with("cannot be opened");
    int refusal = ::flock(descriptor_, LOCK_EX | LOCK_NB) == 0 ? 0 : errno;
    struct stat held {
    }, named{};
    if (refusal != EWOULDBLOCK && ::fstat(descriptor_, &held) != 0) {
      refusal = errno;
      ::close(descriptor_);
      errno = refusal;
      fail_with("cannot be examined");
    }
    if (refusal == EWOULDBLOCK) {
      ::close(descriptor_);
      detail::throw_error<BusyError>("run", path_, ": another process is writing to this run");
    }
    require(S_ISREG(held.st_mode), "run", path_, ": expected a regular file");
    const bool same = ::lstat(path_.c_str(), &named) == 0 && named.st_ino == held.st_ino;
    if (same && refusal != 0)
      note(path_ + ": this file system has no locks (" + std::strerror(refusal) +
           "): nothing keeps two processes off one run");
    bytes_ = held.st_size;
    if (same) return;
    ::close(descriptor_);  // its holder removed it between our two calls
  }
}

MetricsLog::~MetricsLog() {
  if (created_ && !begun_) {
    ::unlink(path_.c_str());  // while it is locked
    if (created_folder_) ::rmdir(folder_.c_str());
  }
  ::close(descriptor_);
}

/// The length of the whole lines among the first `bytes`.
int64_t MetricsLog::whole_lines(int64_t bytes) const {
  std::string chunk(1 << 16, '\0');
  while (bytes > 0) {
    const int64_t first = std::max<int64_t>(0, bytes - static_cast<int64_t>(chunk.size()));
    const ssize_t got =
        read_all_at(descriptor_, static_cast<uint64_t>(first), chunk.data(), static_cast<size_t>(bytes - first));
    if (got != bytes - first) fail_with("cannot be read");
    const size_t end = std::string_view(chunk).substr(0, static_cast<size_t>(got)).rfind('\n');
    if (end != std::string_view::npos) return first + static_cast<int64_t>(end) + 1;
    bytes = first;
  }
  return 0;
}

void MetricsLog::cut(int64_t bytes) {
  begun_ = true;
  const int64_t kept = whole_lines(std::min(bytes, bytes_));
  if (kept < bytes)
    note(path_ + " has " + std::to_string(kept) + " bytes of whole lines where its checkpoint knows of " +
         std::to_string(bytes) + ": what was logged there is missing");
  if (::ftruncate(descriptor_, kept) != 0) fail_with("cannot be cut");
  bytes_ = kept;
}

void MetricsLog::write(const Json& record) {
  const std::string line = record.dump() + "\n";
  const int error = write_all(descriptor_, line.data(), line.size());
  if (error != 0) {
    // The failure to report is the write's; without this cut a resumed run cuts the half line itself.
    static_cast<void>(::ftruncate(descriptor_, bytes_) == 0);
    errno = error;
    fail_with("cannot be written");
  }
  bytes_ += static_cast<int64_t>(line.size());
}

int64_t MetricsLog::sync() {
  if (::fsync(descriptor_) != 0) fail_with("cannot be flushed to the disk");
  return bytes_;
}

void MetricsLog::fail_with(const char* what) const { fail("run", path_, ' ', what, ": ", std::strerror(errno)); }

}  // namespace sked
