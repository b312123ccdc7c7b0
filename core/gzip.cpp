#include "core/gzip.h"

#include <zlib.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <utility>
#include <vector>

#include "core/build.h"
#include "core/error.h"

namespace sked {
namespace {

const WithLibrary library(std::string("zlib ") + zlibVersion());

constexpr size_t kChunk = size_t{1} << 20;
constexpr int kGzipOnly = 16 + MAX_WBITS;  // zlib's way to say: gzip headers and checksums, nothing else

/// zlib's state, and where its input comes from.
class Inflater {
 public:
  /// `more` gives the next bytes of the file, none at its end; they stay where they are until it is called again.
  Inflater(std::string path, std::function<std::string_view()> more) : path_(std::move(path)), more_(std::move(more)) {
    require(inflateInit2(&stream_, kGzipOnly) == Z_OK, "gunzip", "zlib cannot start for ", path_);
  }
  ~Inflater() { inflateEnd(&stream_); }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;

  size_t read(void* bytes, size_t count);
  /// Behind a member: does something else than another one follow?
  bool followed() { return !inside_ && fed(); }
  uint64_t taken() const { return taken_; }

 private:
  /// Is there input at hand? Asks for more where there is none.
  bool fed();
  bool begins_member();

  std::string path_;
  std::function<std::string_view()> more_;
  std::string_view waiting_;  // more input than zlib, which counts in 32 bits, takes at once
  z_stream stream_{};
  bool inside_ = false;               // of a member
  uint64_t taken_ = 0, written_ = 0;  // bytes
};

bool Inflater::fed() {
  if (stream_.avail_in > 0) return true;
  if (waiting_.empty()) waiting_ = more_();
  const size_t step = std::min<size_t>(waiting_.size(), std::numeric_limits<uInt>::max());
  stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(waiting_.data()));
  stream_.avail_in = static_cast<uInt>(step);
  waiting_.remove_prefix(step);
  taken_ += step;
  return step > 0;
}

bool Inflater::begins_member() {
  constexpr Bytef kFirst = 0x1f;
  if (*stream_.next_in != kFirst) return false;
  inflateReset(&stream_);
  return inside_ = true;
}

size_t Inflater::read(void* bytes, size_t count) {
  size_t done = 0;
  while (done < count) {
    if (!fed()) {
      require(!inside_, "gunzip", path_, " is cut short: ", taken_, " bytes give ", written_);
      break;
    }
    if (!inside_ && !begins_member()) break;
    const auto room = static_cast<uInt>(std::min<size_t>(count - done, std::numeric_limits<uInt>::max()));
    stream_.next_out = static_cast<Bytef*>(bytes) + done;
    stream_.avail_out = room;
    const int status = inflate(&stream_, Z_NO_FLUSH);
    const size_t got = room - stream_.avail_out;
    done += got;
    written_ += got;
    require(status == Z_OK || status == Z_STREAM_END || status == Z_BUF_ERROR, "gunzip", path_, " is damaged after ",
            written_, " decompressed bytes: ", stream_.msg ? stream_.msg : zError(status));
    if (status == Z_STREAM_END) inside_ = false;
  }
  return done;
}

}  // namespace

struct GzipReader::State {
  explicit State(const std::string& path) : file(path), inflater(path, [this] { return more(); }) {}
  std::string_view more() { return {buffer.data(), file.read_some(buffer.data(), buffer.size())}; }

  InputFile file;
  std::vector<char> buffer = std::vector<char>(kChunk);
  Inflater inflater;
};

GzipReader::GzipReader(const std::string& path) : state_(std::make_unique<State>(path)) {}
GzipReader::~GzipReader() = default;
size_t GzipReader::read(void* bytes, size_t count) { return state_->inflater.read(bytes, count); }

uint64_t GzipReader::taken() const { return state_->inflater.taken(); }

std::string gunzip(std::string_view bytes, const std::string& path, uint64_t max_bytes) {
  require(!bytes.empty(), "gunzip", path, " is empty");
  Inflater inflater(path, [&] { return std::exchange(bytes, std::string_view()); });
  std::string out;
  for (size_t got = kChunk; got == kChunk;) {
    const size_t before = out.size();
    out.resize(before + kChunk);
    got = inflater.read(out.data() + before, kChunk);
    out.resize(before + got);
    require(out.size() <= max_bytes, "gunzip", path, " decompresses to more than ", max_bytes, " bytes");
  }
  require(!inflater.followed(), "gunzip", path, " has bytes after the gzip data");
  return out;
}

std::optional<std::string> inflated(std::string_view bytes, size_t max_bytes) {
  std::string out(max_bytes, '\0');
  uLongf count = max_bytes;
  if (uncompress(reinterpret_cast<Bytef*>(out.data()), &count, reinterpret_cast<const Bytef*>(bytes.data()),
                 bytes.size()) != Z_OK)
    return std::nullopt;
  out.resize(count);
  return out;
}

}  // namespace sked
