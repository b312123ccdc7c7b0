#pragma once
// Diagrams as pixels, for programs that show no SVG: without words, on white.

#include <array>
#include <cstdint>

#include "apps/common/measure/metrics.h"
#include "core/tensor.h"

namespace sked {

/// A color as 0xRRGGBB; of two, `share` of the one over white.
using Color = uint32_t;
Color over_white(Color color, double share);

/// White, u8 (H,W,3).
Tensor white_picture(int64_t height, int64_t width);
/// Colors the pixels of rows [top, bottom) and columns [left, right), which lie within the picture.
void fill(Tensor& picture, int64_t top, int64_t left, int64_t bottom, int64_t right, Color color);

/// A reliability diagram u8 (304,256,3): each bin of confidence a bar, 16 wide, from x = 8 on, as high as the share of
/// its predictions that was right, of 240 pixels above y = 248: blue, light blue what of it is above their mean
/// confidence, and red what is missing to that; a line from corner to corner where the two are the same. Below, up from
/// y = 296, a gray bar for how many predictions it has, of 40 pixels for the fullest.
Tensor reliability_picture(const std::array<ReliabilityBin, kReliabilityBins>& bins);

}  // namespace sked
