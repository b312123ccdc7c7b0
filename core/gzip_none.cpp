// The build without zlib (ZLIB=0).
#include "core/error.h"
#include "core/gzip.h"

namespace sked {

std::string gunzip(std::string_view, const std::string& path, uint64_t) {
  fail("gunzip", "cannot read ", path, ": built without zlib: gunzip ", path, " first");
}

}  // namespace sked
