// Without the image libraries: what needs them says so.
#include "data/codecs.h"

namespace sked {
namespace {

[[noreturn]] void lacks(const std::string& source, const char* what) {
  fail("image", source, ": this program was built without the libraries of ", what, " (make deps, then make)");
}

}  // namespace

bool can_decode_images() { return false; }

Tensor jpeg_pixels(Bytes, const std::string& source, const ImageHeader&, int) { lacks(source, "JPEG images"); }
Tensor png_pixels(Bytes, const std::string& source, const ImageHeader&) { lacks(source, "PNG images"); }
Tensor webp_pixels(Bytes, const std::string& source, const ImageHeader&) { lacks(source, "WebP images"); }
Tensor tiff_pixels(Bytes, const std::string& source, const ImageHeader&) { lacks(source, "TIFF images"); }
std::string png_bytes(const Tensor&, const std::string& source) { lacks(source, "PNG images"); }
std::string jpeg_bytes(const Tensor&, const std::string& source) { lacks(source, "JPEG images"); }

}  // namespace sked
