// Without OpenCV: what needs it says so.
#include "data/image_file.h"

namespace sked {

bool can_decode_images() { return false; }

Tensor decode_image(std::span<const uint8_t>, const std::string& source, int, int, Turning) {
  fail("decode_image", source, ": this program was built without OpenCV, which decodes images (make deps, then make)");
}

void write_png(const std::string& path, const Tensor&) {
  fail("write_png", path, ": this program was built without OpenCV, which encodes images (make deps, then make)");
}

Tensor captioned(const Tensor&, const std::vector<std::string>&) {
  fail("captioned", "this program was built without OpenCV, which draws text (make deps, then make)");
}

}  // namespace sked
