#pragma once
// Image files: what their headers say (image_header.cpp, image_exif.cpp), and their pixels, decoded and encoded by
// OpenCV (opencv_image.cpp; without it, opencv_none.cpp says what is missing), but for PNM (image_pnm.cpp).

#include <array>
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

/// What the header of an image file says.
struct ImageHeader {
  int64_t height = 0, width = 0, channels = 0;  // as stored, before EXIF orientation
  /// 1 … 8, EXIF's tag 0x0112; 1, as it lies, where there is none that makes sense.
  int orientation = 1;
  /// The greatest R, G and B of a decoded pixel: less than 255 for BMP files of 16 bits a pixel.
  std::array<uint8_t, 3> white{255, 255, 255};
};

/// Reads the header of a JPEG, PNG, BMP, WebP or PNM file, without decoding it. JPEG and PNG files are walked to their
/// end. Throws ImageError naming `source` for anything else, a file that is cut off, a PNG header that fails its
/// checksum, BMP colour masks no decoder here knows, an animated WebP file, or more than kLargestImage pixels.
ImageHeader image_header(std::span<const uint8_t> bytes, const std::string& source);

/// (H, W, channels in the file) of image_header(): as stored.
Shape image_size(std::span<const uint8_t> bytes, const std::string& source);

/// EXIF's orientation (CIPA DC-008, tag 0x0112) in a TIFF structure, with or without `Exif\0\0` in front; 1 where there
/// is none, or no number in 1 … 8. Believes no offset and no count.
int exif_orientation(std::span<const uint8_t> exif);

/// Is this a JPEG file, the one format that is cheaper to decode at a fraction of its size?
bool is_jpeg(std::span<const uint8_t> bytes);

/// Is this a PNM file (`P1` … `P6`)?
bool is_pnm(std::span<const uint8_t> bytes);

/// A PNM file (netpbm.sourceforge.net/doc/pnm.html; the first image of several) as u8 (H, W, 1 or 3): a sample v of at
/// most m becomes v·255/m, rounded to even, as Pillow has it. Throws ImageError naming `source` for a file that is cut
/// off, a greatest sample value outside 1 … 65535, a sample above it, or what is no number.
Tensor pnm_pixels(std::span<const uint8_t> bytes, const std::string& source);

/// Are pixels turned as the file's EXIF orientation says, or left as they are stored?
enum class Turning { upright, as_stored };

/// The image as u8 (H, W, channels), RGB (3) or grey (1). Upright, JPEG, PNG and WebP are turned by the EXIF
/// orientation they carry, as Pillow's ImageOps.exif_transpose does. Samples of 16 bits in a PNG keep their high byte:
/// that is what Pillow makes of 16-bit colour and torchvision of any, and off by at most 1 from v·255/65535; PNM
/// samples are scaled (pnm_pixels), BMP's of 5 and 6 bits as well. CMYK is converted, alpha is dropped. `shrink` 1, 2,
/// 4 or 8: a JPEG file is decoded at that fraction of its size (rounded up) by a smaller inverse DCT, which is what
/// makes large ones cheap; other formats ignore it. Throws ImageError naming `source` for bytes that are no image, cut
/// off, of another size than their header says or larger than kLargestImage, Error without OpenCV. Runs on the calling
/// thread alone; safe from several.
Tensor decode_image(std::span<const uint8_t> bytes, const std::string& source, int channels = 3, int shrink = 1,
                    Turning turning = Turning::upright);

/// A PNG file of u8 (H, W, 1 or 3), written atomically. Throws Error naming the file.
void write_png(const std::string& path, const Tensor& image);

/// The image u8 (H, W, 3) with lines of text below, enlarged by whole factors until it is wide enough to read: u8 (H',
/// W', 3). Bytes beyond ASCII are drawn as `?`.
Tensor captioned(const Tensor& image, const std::vector<std::string>& lines);

}  // namespace sked
