// The build without zlib (ZLIB=0).
#include "core/error.h"
#include "core/gzip.h"

namespace sked {
namespace {

[[noreturn]] void refuse(const std::string& path) {
  fail("gunzip", "cannot read ", path, ": built without zlib: gunzip ", path, " first");
}

}  // namespace

struct GzipReader::State {};
GzipReader::GzipReader(const std::string& path) { refuse(path); }
GzipReader::~GzipReader() = default;
size_t GzipReader::read(void*, size_t) { return 0; }
uint64_t GzipReader::taken() const { return 0; }

std::optional<std::string> inflated(std::string_view, size_t) { return std::nullopt; }

std::string gunzip(std::string_view, const std::string& path, uint64_t) { refuse(path); }

}  // namespace sked
