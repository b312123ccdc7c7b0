#pragma once
// Images as pages hold them: small, and inside the page's own file.

#include <cstdint>
#include <string>

#include "core/tensor.h"

namespace sked {

/// A photograph u8 (H,W,C) reduced until its longer side has `side` pixels, by antialiased bilinear resampling; a
/// smaller one as it is.
Tensor thumbnail(const Tensor& image, int64_t side = 320);

/// An image u8 (H,W,C), C = 1 or 3, as a data URI: PNG up to 64 x 64 pixels, of which each counts, JPEG beyond; a
/// bitmap where the program was built without the image libraries.
std::string picture_uri(const Tensor& image);

/// As `data:image/bmp`: uncompressed, so nothing is needed to write it.
std::string bitmap_uri(const Tensor& image);

}  // namespace sked
