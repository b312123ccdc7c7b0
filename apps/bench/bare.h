#pragma once
// One image as a loop without a loader would prepare it (bare_jpeg.cpp).

#include <cstdint>

#include "data/dataset.h"

namespace sked::bench {

/// A JPEG file by libjpeg, then resample() to size×size: `out` has size·size·3 bytes. Throws Error without libjpeg.
void bare_decode(const EncodedImage& file, int64_t size, uint8_t* out);

}  // namespace sked::bench
