#include "apps/common/measure/picture.h"

#include <algorithm>

#include "core/error.h"
#include "data/image_file.h"
#include "data/image_resample.h"

namespace sked {
namespace {

std::string base64(const std::string& bytes) {
  static constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const size_t left = std::min<size_t>(3, bytes.size() - i);
    uint32_t word = 0;
    for (size_t j = 0; j < 3; ++j) word = word << 8 | (j < left ? static_cast<uint8_t>(bytes[i + j]) : 0);
    for (size_t j = 0; j < 4; ++j) text += j <= left ? kDigits[word >> (18 - 6 * j) & 63] : '=';
  }
  return text;
}

void append(std::string& bytes, uint32_t value, int count) {
  for (int i = 0; i < count; ++i) bytes += static_cast<char>(value >> (8 * i) & 0xff);
}

}  // namespace

Tensor thumbnail(const Tensor& image, int64_t side) {
  const int64_t height = image.dim(0), width = image.dim(1), longer = std::max(height, width);
  if (longer <= side) return image;
  const Shape size{std::max<int64_t>(1, height * side / longer), std::max<int64_t>(1, width * side / longer),
                   image.dim(2)};
  Tensor result = Tensor::empty(size, DType::u8);
  resample(image.data<uint8_t>(), image.shape(), {0, 0, height, width}, size[0], size[1], result.data<uint8_t>());
  return result;
}

std::string picture_uri(const Tensor& image) {
  constexpr int64_t kIcon = 64;
  if (!can_decode_images()) return bitmap_uri(image);
  if (std::max(image.dim(0), image.dim(1)) <= kIcon)
    return "data:image/png;base64," + base64(png_bytes(image, "picture"));
  return "data:image/jpeg;base64," + base64(jpeg_bytes(image, "picture"));
}

std::string bitmap_uri(const Tensor& image) {
  const int64_t height = image.dim(0), width = image.dim(1), channels = image.dim(2);
  require(channels == 1 || channels == 3, "picture", "expected an image with 1 or 3 channels, got ", image);
  // BMP: 14 bytes of file header, 40 of image header, then rows bottom up, padded to four bytes, each pixel B G R.
  const auto padding = static_cast<uint32_t>((4 - width * 3 % 4) % 4);
  const uint32_t size = static_cast<uint32_t>(height) * (static_cast<uint32_t>(width) * 3 + padding);
  std::string bytes = "BM";
  for (uint32_t value : {54 + size, 0u, 54u, 40u, static_cast<uint32_t>(width), static_cast<uint32_t>(height)})
    append(bytes, value, 4);
  append(bytes, 1, 2);
  append(bytes, 24, 2);
  for (uint32_t value : {0u, size, 2835u, 2835u, 0u, 0u}) append(bytes, value, 4);
  const uint8_t* pixels = image.data<uint8_t>();
  for (int64_t y = height - 1; y >= 0; --y) {
    for (int64_t x = 0; x < width; ++x) {
      const uint8_t* pixel = pixels + (y * width + x) * channels;
      for (int64_t c : {channels - 1, channels / 2, int64_t{0}}) bytes += static_cast<char>(pixel[c]);
    }
    append(bytes, 0, static_cast<int>(padding));
  }
  return "data:image/bmp;base64," + base64(bytes);
}

}  // namespace sked
