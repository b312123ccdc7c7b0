#pragma once
// Tar archives, read in place: where each member lies, and its bytes by offset.

#include <cstdint>
#include <string>
#include <vector>

namespace sked {

/// A regular file inside an archive.
struct TarMember {
  std::string name;    // a relative path without `..`
  int64_t offset = 0;  // of its first byte in the archive
  int64_t size = 0;    // bytes
};

/// Walks the headers of a POSIX (ustar, pax or GNU) archive, skipping folders. Contents are not read; what follows the
/// end marker is ignored, as tar does. Throws Error naming the file and the offset for a header whose checksum, size or
/// name is wrong (absolute, or with `..`), a link, a device or a sparse file, a member larger than `largest`, a member
/// that runs past the end of the file, a gzipped one, or an archive without its end marker (two blocks of zeros, or one
/// that ends the file).
std::vector<TarMember> list_tar(const std::string& path, int64_t largest = int64_t{1} << 30);

/// The bytes of a member, read at its offset. Throws Error naming the file and the member. Safe from several threads.
std::vector<uint8_t> read_member(const std::string& path, const TarMember& member);

}  // namespace sked
