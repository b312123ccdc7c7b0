#pragma once
// Image files: what their headers say (image_header.cpp), and their pixels (image_decode.cpp), by the one decoder that
// their first bytes name (codecs.h).

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

/// Was this program built with the libraries of JPEG, PNG, WebP and TIFF? BMP, GIF and PNM are decoded without any.
bool can_decode_images();

/// The largest image that is decoded, in pixels: more is refused before anything is allocated for it.
inline constexpr int64_t kLargestImage = int64_t{1} << 27;

/// What the header of an image file says.
struct ImageHeader {
  int64_t height = 0, width = 0, channels = 0;  // as stored, before EXIF orientation
  /// 1 … 8, EXIF's tag 0x0112; 1, as it lies, where there is none that makes sense.
  int orientation = 1;
};

/// Reads the header of a JPEG, PNG, WebP, GIF, TIFF, BMP or PNM file, without decoding it: of several images or frames
/// the first. Throws ImageError naming `source` for anything else (and what it is), a file that ends within its header,
/// a PNG header that fails its checksum, a layout that is not read (JPEG of 12 bits, unusual BMP masks …), or more than
/// kLargestImage pixels.
ImageHeader image_header(std::span<const uint8_t> bytes, const std::string& source);

/// (H, W, channels in the file) of image_header(): as stored.
Shape image_size(std::span<const uint8_t> bytes, const std::string& source);

/// EXIF's orientation (CIPA DC-008, tag 0x0112) in a TIFF structure, with or without `Exif\0\0` in front; 1 where there
/// is none, or no number in 1 … 8. Believes no offset and no count.
int exif_orientation(std::span<const uint8_t> exif);

/// Is this a JPEG file, the one format that is cheaper to decode at a fraction of its size?
bool is_jpeg(std::span<const uint8_t> bytes);

/// Are pixels turned as the file's EXIF orientation says, or left as they are stored?
enum class Turning { upright, as_stored };

/// The image as u8 (H, W, channels), RGB (3) or gray (1, ITU-R BT.601 luma), as Pillow makes it with convert("RGB"),
/// of the files that Pillow takes. Upright, JPEG, PNG and WebP are turned by the EXIF orientation they carry, or else
/// by that of their XMP, as Pillow's ImageOps.exif_transpose does; TIFF files always are, as Pillow itself does.
///   animations      the first frame; what it does not cover is black (WebP) or of the first or transparent index (GIF)
///   16-bit samples  keep their high byte: that is what Pillow makes of 16-bit color and torchvision of any (where
///                   Pillow clips gray), and off by at most 1 from v·255/65535; PNM samples are scaled, BMP's of 5 and
///                   6 bits as well
///   CMYK            converted; alpha is dropped, without a background
/// `shrink` 1, 2, 4 or 8: a JPEG file is decoded at that fraction of its size (rounded up) by a smaller inverse DCT,
/// which is what makes large ones cheap; other formats ignore it.
/// Which decoder sees the bytes depends on the first of them alone, and none opens a file. Throws ImageError naming
/// `source` for bytes that are no image, end before their last pixel, are of another size than their header says or
/// larger than kLargestImage, have more scans than make sense, or whose decoder would need more than 512 MiB beside the
/// pixels; Error for a format whose library is not built in.
/// Runs on the calling thread alone; safe from several.
Tensor decode_image(std::span<const uint8_t> bytes, const std::string& source, int channels = 3, int shrink = 1,
                    Turning turning = Turning::upright);

/// A PNG file of u8 (H, W, 1 or 3). Throws Error naming `source` for another tensor, and without the library.
std::string png_bytes(const Tensor& image, const std::string& source);
/// Likewise a JPEG file of quality 85, colors at half the resolution: a tenth of what a photograph takes as PNG. Sides
/// of at most 65,500 pixels.
std::string jpeg_bytes(const Tensor& image, const std::string& source);

/// png_bytes(), written atomically.
void write_png(const std::string& path, const Tensor& image);

}  // namespace sked
