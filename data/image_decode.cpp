// Pixels of an image file: the decoder of its format, and what is done to the pixels of all formats alike.
#include <algorithm>

#include "core/file.h"
#include "data/codecs.h"

namespace sked {
namespace {

Tensor stored_pixels(ImageFormat format, Bytes bytes, const std::string& source, const ImageHeader& header,
                     int shrink) {
  switch (format) {
    case ImageFormat::jpeg:
      return jpeg_pixels(bytes, source, header, shrink);
    case ImageFormat::png:
      return png_pixels(bytes, source, header);
    case ImageFormat::webp:
      return webp_pixels(bytes, source, header);
    case ImageFormat::tiff:
      return tiff_pixels(bytes, source, header);
    case ImageFormat::gif:
      return gif_pixels(bytes, source, header);
    case ImageFormat::bmp:
      return bmp_pixels(bytes, source, header);
    case ImageFormat::pnm:
      return pnm_pixels(bytes, source, header);
  }
  return {};
}

/// Upright, by EXIF's orientation 1 … 8: row r, column c of the result is row (or from 5 on column) r of the stored
/// image, counted from its end where that side is mirrored.
Tensor oriented(const Tensor& image, int orientation) {
  if (orientation == 1) return image;
  const bool swaps = orientation >= 5;
  const bool from_right = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  const bool from_below = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  const int64_t height = image.dim(0), width = image.dim(1);
  Tensor upright = Tensor::empty({swaps ? width : height, swaps ? height : width, 3}, DType::u8);
  const auto* in = image.data<uint8_t>();
  auto* out = upright.data<uint8_t>();
  const int64_t right = from_right ? -3 : 3, down = from_below ? -width * 3 : width * 3, step = swaps ? down : right;
  // In strips of few columns: the rows that they are read from stay in the cache from one row to the next.
  constexpr int64_t kColumns = 64;
  for (int64_t left = 0; left < upright.dim(1); left += kColumns) {
    const int64_t columns = std::min(kColumns, upright.dim(1) - left);
    for (int64_t r = 0; r < upright.dim(0); ++r) {
      int64_t y = swaps ? left : r, x = swaps ? r : left;
      if (from_below) y = height - 1 - y;
      if (from_right) x = width - 1 - x;
      const uint8_t* from = in + (y * width + x) * 3;
      uint8_t* to = out + (r * upright.dim(1) + left) * 3;
      for (int64_t c = 0; c < columns; ++c) std::copy_n(from + c * step, 3, to + c * 3);
    }
  }
  return upright;
}

/// ITU-R BT.601 luma, as Pillow rounds it: (H, W, 3) to (H, W, 1).
Tensor gray(const Tensor& image) {
  Tensor luma = Tensor::empty({image.dim(0), image.dim(1), 1}, DType::u8);
  const auto* rgb = image.data<uint8_t>();
  auto* out = luma.data<uint8_t>();
  for (int64_t i = 0; i < luma.numel(); ++i, rgb += 3)
    out[i] = static_cast<uint8_t>((19595 * rgb[0] + 38470 * rgb[1] + 7471 * rgb[2] + 0x8000) >> 16);
  return luma;
}

}  // namespace

Tensor decode_image(std::span<const uint8_t> bytes, const std::string& source, int channels, int shrink,
                    Turning turning) {
  require(channels == 1 || channels == 3, "decode_image", "expected 1 or 3 channels, got ", channels);
  require(shrink == 1 || shrink == 2 || shrink == 4 || shrink == 8, "decode_image",
          "expected a shrink of 1, 2, 4 or 8, got ", shrink);
  const ImageHeader header = image_header(bytes, source);  // refuses what is no image, or too large
  const ImageFormat format = image_format(bytes, source);
  Tensor pixels = stored_pixels(format, bytes, source, header, shrink);
  if (turning == Turning::upright || format == ImageFormat::tiff) pixels = oriented(pixels, header.orientation);
  return channels == 1 ? gray(pixels) : pixels;
}

void write_png(const std::string& path, const Tensor& image) { write_file(path, png_bytes(image, path)); }

}  // namespace sked
