#pragma once
// Inside decode_image(): one decoder for each format, called for bytes that begin as this format does and for no
// others. JPEG, PNG, WebP and TIFF belong to their libraries (codec_*.cpp; without them, codec_none.cpp says what is
// missing), BMP, GIF and PNM are read here (image_*.cpp). No decoder opens a file.

#include <array>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "data/image_file.h"

namespace sked {

using Bytes = std::span<const uint8_t>;

/// A reason to refuse an image file, in one line.
template <class... Parts>
[[noreturn]] void refuse_image(const std::string& source, const Parts&... parts) {
  detail::throw_error<ImageError>("image", source, ": ", parts...);
}

inline bool begins_with(Bytes bytes, std::string_view magic, size_t at = 0) {
  return bytes.size() >= at && bytes.size() - at >= magic.size() &&
         std::memcmp(bytes.data() + at, magic.data(), magic.size()) == 0;
}

/// Throws Error naming `source` for what is no image u8 (H, W, 1 or 3).
inline void require_picture(const Tensor& image, const std::string& source) {
  require(image.defined() && image.dtype() == DType::u8 && image.ndim() == 3 && image.numel() > 0 &&
              (image.dim(2) == 1 || image.dim(2) == 3),
          "image", source, ": expected an image u8 (H, W, 1 or 3), got ", image);
}

/// `count` bytes from `at` on as a number; the caller has checked that they are there.
inline int64_t big_endian(Bytes bytes, size_t at, size_t count) {
  int64_t value = 0;
  for (size_t i = 0; i < count; ++i) value = value << 8 | bytes[at + i];
  return value;
}
inline int64_t little_endian(Bytes bytes, size_t at, size_t count) {
  int64_t value = 0;
  for (size_t i = count; i > 0; --i) value = value << 8 | bytes[at + i - 1];
  return value;
}

enum class ImageFormat { jpeg, png, webp, tiff, gif, bmp, pnm };

/// The format that the first bytes announce. Throws ImageError naming `source`, what is expected and what the file is
/// instead, as far as its first bytes tell.
ImageFormat image_format(Bytes bytes, const std::string& source);

/// The colors of up to 256 indices; black behind the last of them, as Pillow has it.
using Palette = std::array<std::array<uint8_t, 3>, 256>;

/// Pillow's CMYK (0: no ink) to RGB: each ink is multiplied by what the black leaves.
inline void cmyk_to_rgb(const uint8_t* cmyk, uint8_t* rgb) {
  const int light = 255 - cmyk[3];
  for (int c = 0; c < 3; ++c) {
    const int product = cmyk[c] * light + 128;
    rgb[c] = static_cast<uint8_t>(light - ((product + (product >> 8)) >> 8));
  }
}

// Headers. Each throws ImageError naming `source`, or returns nothing where the file ends or is damaged before its
// size is known; sizes are checked by image_header().
std::optional<ImageHeader> bmp_header(Bytes bytes, const std::string& source);
std::optional<ImageHeader> gif_header(Bytes bytes, const std::string& source);
std::optional<ImageHeader> tiff_header(Bytes bytes, const std::string& source);

/// The orientation that EXIF or TIFF bytes name, whatever it is; nothing where they name none.
std::optional<int64_t> orientation_tag(Bytes exif);
/// The same of an XMP packet, where Pillow looks when there is none in EXIF: `tiff:Orientation="6"`.
std::optional<int64_t> xmp_orientation(Bytes xmp);
/// An orientation 1 … 8; 1, as it lies, for what is none.
int valid_orientation(std::optional<int64_t> orientation);

// Pixels u8 (H, W, 3) as they are stored, of the size that image_header() has found and bounded, or ImageError naming
// `source`. A JPEG file at 1/`shrink` of its size, rounded up.
Tensor jpeg_pixels(Bytes bytes, const std::string& source, const ImageHeader& header, int shrink);
Tensor png_pixels(Bytes bytes, const std::string& source, const ImageHeader& header);
Tensor webp_pixels(Bytes bytes, const std::string& source, const ImageHeader& header);
Tensor tiff_pixels(Bytes bytes, const std::string& source, const ImageHeader& header);
Tensor bmp_pixels(Bytes bytes, const std::string& source, const ImageHeader& header);
Tensor gif_pixels(Bytes bytes, const std::string& source, const ImageHeader& header);
/// PNM (netpbm.sourceforge.net/doc/pnm.html; the first image of several): a sample v of at most m becomes v·255/m,
/// rounded to even, as Pillow has it. A greatest sample value is 1 … 65535, no sample is above it.
Tensor pnm_pixels(Bytes bytes, const std::string& source, const ImageHeader& header);

}  // namespace sked
