#include "data/idx.h"

#include <optional>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "core/file.h"
#include "core/gzip.h"
#include "data/dataset.h"

namespace sked {
namespace {

constexpr uint64_t kMaxBytes = uint64_t{1} << 30;  // twice the largest set of the family, EMNIST
constexpr unsigned char kBytes = 0x08;             // the code of unsigned bytes

uint32_t big_endian(std::string_view bytes) {
  uint32_t value = 0;
  for (const char c : bytes.substr(0, 4)) value = value << 8 | static_cast<unsigned char>(c);
  return value;
}

/// The extents of an IDX file of bytes with `axes` axes, checked against its length.
std::vector<uint64_t> read_extents(std::string_view bytes, uint32_t axes, const std::string& path) {
  const size_t header = 4 + 4 * axes;
  require(bytes.size() >= header, "load_idx", path, " is too short: expected a header of ", header, " bytes, got ",
          bytes.size());
  const uint32_t expected = uint32_t{kBytes} << 8 | axes, magic = big_endian(bytes);
  require(magic == expected, "load_idx", path, ": expected magic number ", expected, ", got ", magic);
  std::vector<uint64_t> extents;
  for (uint32_t axis = 0; axis < axes; ++axis) extents.push_back(big_endian(bytes.substr(4 + 4 * axis)));
  const std::optional<uint64_t> count = checked_product(extents);
  require(count.has_value() && *count == bytes.size() - header, "load_idx", path, ": expected ",
          count ? std::to_string(*count) : "more than 2^63", " bytes after the header, got ", bytes.size() - header);
  return extents;
}

}  // namespace

Tensor load_idx_images(const std::string& path) {
  const std::string bytes = read_maybe_gzip(path, kMaxBytes);
  const std::vector<uint64_t> extents = read_extents(bytes, 3, path);
  require(extents[1] > 0 && extents[2] > 0, "load_idx", path, ": expected images with pixels, got ", extents[1], "×",
          extents[2]);
  const auto extent = [&](size_t axis) { return static_cast<int64_t>(extents[axis]); };
  Tensor images = Tensor::empty({extent(0), extent(1), extent(2), 1}, DType::u8);
  bytes.copy(static_cast<char*>(images.raw()), images.bytes(), bytes.size() - images.bytes());
  return images;
}

Tensor load_idx_labels(const std::string& path, int64_t classes) {
  const std::string bytes = read_maybe_gzip(path, kMaxBytes);
  const std::vector<uint64_t> extents = read_extents(bytes, 1, path);
  Tensor labels = Tensor::empty({static_cast<int64_t>(extents[0])}, DType::i64);
  const size_t header = bytes.size() - extents[0];
  int64_t* y = labels.data<int64_t>();
  for (size_t i = 0; i < extents[0]; ++i) y[i] = static_cast<unsigned char>(bytes[header + i]);
  check_labels(labels, classes, path);
  return labels;
}

}  // namespace sked
