#pragma once
// A fuzz target is a function of bytes that may end in an Error and in nothing else. libFuzzer calls it (make fuzz).

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "core/error.h"

namespace sked::fuzz {

/// Bytes as a file in memory: the parsers take paths.
class MemoryFile {
 public:
  MemoryFile(const uint8_t* bytes, size_t count) : descriptor_(memfd_create("fuzz", MFD_CLOEXEC)) {
    if (descriptor_ < 0) std::abort();
    for (size_t done = 0; done < count;) {
      const ssize_t n = ::write(descriptor_, bytes + done, count - done);
      if (n <= 0) std::abort();
      done += static_cast<size_t>(n);
    }
  }
  ~MemoryFile() { ::close(descriptor_); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;

  std::string path() const { return "/proc/self/fd/" + std::to_string(descriptor_); }

 private:
  int descriptor_;
};

/// Calls parse(path of a file with these bytes); an Error is an answer.
template <class Parse>
int with_file(const uint8_t* bytes, size_t count, Parse parse) {
  const MemoryFile file(bytes, count);
  try {
    parse(file.path());
  } catch (const Error&) {
  }
  return 0;
}

}  // namespace sked::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t count);
