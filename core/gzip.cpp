#include "core/gzip.h"

#include <zlib.h>

#include <algorithm>
#include <limits>

#include "core/error.h"

namespace sked {
namespace {

constexpr size_t kChunk = size_t{1} << 20;
constexpr int kGzipOnly = 16 + MAX_WBITS;  // zlib's way to say: gzip headers and checksums, nothing else

/// zlib's state of one decompression.
struct Inflater {
  explicit Inflater(const std::string& path) : path(path) {
    require(inflateInit2(&stream, kGzipOnly) == Z_OK, "gunzip", "zlib cannot start for ", path);
  }
  ~Inflater() { inflateEnd(&stream); }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;

  /// Appends one member's contents to `out`; returns the compressed bytes it took.
  size_t member(std::string_view bytes, uint64_t max_bytes, std::string& out);

  const std::string& path;
  z_stream stream{};
};

size_t Inflater::member(std::string_view bytes, uint64_t max_bytes, std::string& out) {
  inflateReset(&stream);
  size_t fed = 0;
  for (int status = Z_OK; status != Z_STREAM_END;) {
    if (stream.avail_in == 0) {
      // zlib counts in 32 bits
      const size_t step = std::min<size_t>(bytes.size() - fed, std::numeric_limits<uInt>::max());
      stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data() + fed));
      stream.avail_in = static_cast<uInt>(step);
      fed += step;
    }
    const size_t before = out.size();
    out.resize(before + kChunk);
    stream.next_out = reinterpret_cast<Bytef*>(out.data() + before);
    stream.avail_out = kChunk;
    status = inflate(&stream, Z_NO_FLUSH);
    out.resize(before + kChunk - stream.avail_out);
    require(out.size() <= max_bytes, "gunzip", path, " decompresses to more than ", max_bytes, " bytes");
    // Z_BUF_ERROR: no progress, because there is no input left
    require(status != Z_BUF_ERROR, "gunzip", path, " is cut short: ", bytes.size(), " bytes give ", out.size());
    require(status == Z_OK || status == Z_STREAM_END, "gunzip", path, " is damaged after ", out.size(),
            " decompressed bytes: ", stream.msg ? stream.msg : zError(status));
  }
  const size_t taken = fed - stream.avail_in;
  stream.avail_in = 0;
  return taken;
}

}  // namespace

std::string gunzip(std::string_view bytes, const std::string& path, uint64_t max_bytes) {
  Inflater inflater(path);
  std::string out;
  do {
    require(is_gzip(bytes), "gunzip", path, bytes.empty() ? " is empty" : " has bytes after the gzip data");
    bytes.remove_prefix(inflater.member(bytes, max_bytes, out));
  } while (!bytes.empty());
  return out;
}

}  // namespace sked
