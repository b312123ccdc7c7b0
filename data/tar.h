#pragma once
// Tar archives: where each member lies, and its bytes by offset. Plain ones are read in place; gzipped ones are
// unpacked once, since nothing can be found by offset in them.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "data/scratch_file.h"

namespace sked {

/// What an archive holds, but for folders.
struct TarMember {
  std::string name;    // of any bytes but NUL; empty where there is none. Not for making paths of
  int64_t offset = 0;  // of its first byte in the (unpacked) archive
  int64_t size = 0;    // bytes
  char type = '0';     // of a regular file; else the header's: a link, a sparse file …

  bool regular() const { return type == '0'; }
  /// `a hard link`, for messages.
  std::string kind() const;
};

/// Where the bytes of an archive are.
struct Archive {
  std::string path;
  std::shared_ptr<const ScratchFile> unpacked = nullptr;  // of a gzipped one; null: in the file itself
  uint64_t begin = 0;                                     // in `unpacked`
};

struct TarList {
  std::vector<TarMember> members;
  Archive archive;
  std::string note;  // `<path>: …` where it does not end as archives do; else empty
};

/// Reads the headers of a POSIX (ustar, pax or GNU) archive. Contents are not read. A gzipped one, whatever its name,
/// is unpacked to the end of `scratch`, which is made when it is first needed, with the padding behind its end marker.
/// Where the archive ends is decided as Python's tarfile does: at a block of zeros, at the end of the file, or at what
/// is no header, as long as no header follows it there. Anything but the end marker is noted, and so is a further
/// archive behind it, which is not read. Throws Error naming the file and the offset for what is no archive (saying
/// what it is, and how to unpack it), a header in the midst whose checksum or size is wrong, a member larger than
/// `largest` or cut off by the end of the file, an empty file; naming the file for a damaged gzip file, for one that
/// unpacks to more than 100 times what was read of it (and 16 MiB), and as ScratchFile does.
TarList list_tar(const std::string& path, std::shared_ptr<ScratchFile>& scratch, int64_t largest = int64_t{1} << 30);

/// The bytes of a member, read at its offset. Throws Error naming the file and the member. Safe from several threads.
std::vector<uint8_t> read_member(const Archive& archive, const TarMember& member);

}  // namespace sked
