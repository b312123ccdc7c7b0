#pragma once
// What is unpacked for the time of a run.

#include <cstddef>
#include <cstdint>
#include <string>

namespace sked {

/// A file without a name in $TMPDIR, else /tmp: it is gone when nobody has it open any more, however the program ends.
class ScratchFile {
 public:
  /// Throws Error naming the folder, and $TMPDIR, where no file can be made in it.
  ScratchFile();
  ~ScratchFile();
  ScratchFile(const ScratchFile&) = delete;
  ScratchFile& operator=(const ScratchFile&) = delete;

  /// Writes at the end. Throws Error naming `source`, the folder and $TMPDIR where there is no room.
  void append(const void* bytes, size_t count, const std::string& source);
  uint64_t size() const { return size_; }
  /// Up to `count` bytes from `offset` on: fewer only at the end. Safe from several threads.
  size_t read_at(uint64_t offset, void* bytes, size_t count) const;
  const std::string& folder() const { return folder_; }

 private:
  std::string folder_;
  int descriptor_ = -1;
  uint64_t size_ = 0;
};

}  // namespace sked
