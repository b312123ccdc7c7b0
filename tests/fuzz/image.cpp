#include "data/image_file.h"

#include <span>

#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t count) {
  using namespace sked;
  const std::span file(bytes, count);
  try {
    // OpenCV's own parsers are not instrumented; images of a few pixels show that what passes the header can be
    // decoded.
    const Shape size = image_size(file, "fuzz");
    if (can_decode_images() && size.numel() <= 1 << 16) decode_image(file, "fuzz", 3, 1 << count % 4);
  } catch (const Error&) {
  }
  return 0;
}
