#pragma once
// One image as a loop without a loader would prepare it (opencv_bare.cpp).

#include <cstdint>

#include "data/dataset.h"

namespace sked::bench {

/// cv::imdecode, then resample() to size×size: `out` has size·size·3 bytes, B G R. Throws Error without OpenCV.
void bare_decode(const EncodedImage& file, int64_t size, uint8_t* out);

}  // namespace sked::bench
