#include "data/scratch_file.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "core/error.h"

namespace sked {
namespace {

constexpr const char* kWayOut = " (TMPDIR names another folder)";

std::string temporary_folder() {
  const char* set = std::getenv("TMPDIR");
  return set != nullptr && *set != '\0' ? set : "/tmp";
}

}  // namespace

ScratchFile::ScratchFile() : folder_(temporary_folder()) {
  std::string name = folder_ + "/skedastic-XXXXXX";
  descriptor_ = ::mkostemp(name.data(), O_CLOEXEC);
  if (descriptor_ < 0) fail("unpack", "cannot make a file in ", folder_, ": ", std::strerror(errno), kWayOut);
  ::unlink(name.c_str());
}

ScratchFile::~ScratchFile() { ::close(descriptor_); }

void ScratchFile::append(const void* bytes, size_t count, const std::string& source) {
  for (size_t done = 0; done < count;) {
    const ssize_t n = ::write(descriptor_, static_cast<const char*>(bytes) + done, count - done);
    if (n < 0 && errno == EINTR) continue;
    require(n > 0, "unpack", "cannot unpack ", source, " in ", folder_, ": ", std::strerror(n < 0 ? errno : ENOSPC),
            kWayOut);
    done += static_cast<size_t>(n);
  }
  size_ += count;
}

size_t ScratchFile::read_at(uint64_t offset, void* bytes, size_t count) const {
  size_t done = 0;
  while (done < count) {
    const ssize_t n =
        ::pread(descriptor_, static_cast<char*>(bytes) + done, count - done, static_cast<off_t>(offset + done));
    if (n == 0) break;
    if (n < 0 && errno == EINTR) continue;
    require(n > 0, "unpack", "cannot read what was unpacked in ", folder_, ": ", std::strerror(errno));
    done += static_cast<size_t>(n);
  }
  return done;
}

}  // namespace sked
