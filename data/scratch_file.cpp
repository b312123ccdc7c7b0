#include "data/scratch_file.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "core/error.h"
#include "core/file.h"

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
  const int error = write_all(descriptor_, bytes, count);
  require(error == 0, "unpack", "cannot unpack ", source, " in ", folder_, ": ", std::strerror(error), kWayOut);
  size_ += count;
}

size_t ScratchFile::read_at(uint64_t offset, void* bytes, size_t count) const {
  const ssize_t got = read_all_at(descriptor_, offset, bytes, count);
  if (got < 0) fail("unpack", "cannot read what was unpacked in ", folder_, ": ", std::strerror(errno));
  return static_cast<size_t>(got);
}

}  // namespace sked
