#pragma once
// Image files, decoded and encoded by OpenCV (opencv_*.cpp; without it, image_file_none.cpp says what is missing).

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/tensor.h"

namespace sked {

/// Was this program built with OpenCV?
bool can_decode_images();

/// The largest image that is decoded, in pixels: more is refused before anything is allocated for it.
inline constexpr int64_t kLargestImage = int64_t{1} << 27;

/// (H, W, channels in the file) read from the header of a JPEG, PNG, BMP or WebP file, without decoding it. Throws
/// Error naming `source` for anything else, or a header that is cut off.
Shape image_size(std::span<const uint8_t> bytes, const std::string& source);

/// The image as u8 (H, W, channels) RGB (3) or grey (1), upright as its EXIF orientation says. 16-bit samples are
/// scaled to 8, CMYK is converted, alpha is dropped. `shrink` 1, 2, 4 or 8: decoded at that fraction of its size
/// (rounded up), which is what makes large JPEGs cheap. Throws Error naming `source` for bytes that are no image, cut
/// off, or larger than kLargestImage.
Tensor decode_image(std::span<const uint8_t> bytes, const std::string& source, int channels = 3, int shrink = 1);

/// A PNG file of u8 (H, W, 1 or 3), written atomically. Throws Error naming the file.
void write_png(const std::string& path, const Tensor& image);

}  // namespace sked
