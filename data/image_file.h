#pragma once
// Image files: what their headers say (image_header.cpp), and their pixels, decoded and encoded by OpenCV
// (opencv_image.cpp; without it, opencv_none.cpp says what is missing).

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/tensor.h"

namespace sked {

/// A file that is not the image it should be: damaged, cut off, of an unknown format or too large. What a loader may
/// skip.
class ImageError : public Error {
 public:
  using Error::Error;
};

/// Was this program built with OpenCV?
bool can_decode_images();

/// The largest image that is decoded, in pixels: more is refused before anything is allocated for it.
inline constexpr int64_t kLargestImage = int64_t{1} << 27;

/// (H, W, channels in the file) read from the header of a JPEG, PNG, BMP, WebP or PNM file, without decoding it; H and
/// W as stored, before EXIF orientation. JPEG and PNG files are walked to their end. Throws ImageError naming `source`
/// for anything else, a file that is cut off, or more than kLargestImage pixels.
Shape image_size(std::span<const uint8_t> bytes, const std::string& source);

/// Is this a JPEG file, the one format that is cheaper to decode at a fraction of its size?
bool is_jpeg(std::span<const uint8_t> bytes);

/// The image as u8 (H, W, channels), RGB (3) or grey (1), upright as its EXIF orientation says. 16-bit samples keep
/// their high byte, CMYK is converted, alpha is dropped. `shrink` 1, 2, 4 or 8: a JPEG file is decoded at that fraction
/// of its size (rounded up) by a smaller inverse DCT, which is what makes large ones cheap; other formats ignore it.
/// Throws ImageError naming `source` for bytes that are no image, cut off, or larger than kLargestImage, Error without
/// OpenCV. Runs on the calling thread alone; safe from several.
Tensor decode_image(std::span<const uint8_t> bytes, const std::string& source, int channels = 3, int shrink = 1);

/// A PNG file of u8 (H, W, 1 or 3), written atomically. Throws Error naming the file.
void write_png(const std::string& path, const Tensor& image);

/// The image u8 (H, W, 3) with lines of text below, enlarged by whole factors until it is wide enough to read: u8 (H',
/// W', 3). Bytes beyond ASCII are drawn as `?`.
Tensor captioned(const Tensor& image, const std::vector<std::string>& lines);

}  // namespace sked
