#pragma once
// Sizes and resampling of images, as Pillow and torchvision have them: antialiased bilinear, the standard of the
// field's preprocessing. Same bytes on every machine.

#include <cstdint>

#include "core/rng.h"
#include "core/shape.h"

namespace sked {

/// A rectangle of pixels inside an image.
struct Crop {
  int64_t top = 0, left = 0, height = 0, width = 0;
};

/// The window of `image` (H, W, C) resampled to (height, width, C): a triangle filter as wide as the scale, so that
/// shrinking averages and enlarging interpolates, with weights of 22 fractional bits, first along rows, then along
/// columns. Bit for bit `crop(window).resize((width, height), BILINEAR)` of Pillow 11 (13 may take columns first and
/// then rounds differently by 1). `out` has height·width·C bytes.
void resample(const uint8_t* image, const Shape& shape, const Crop& window, int64_t height, int64_t width,
              uint8_t* out);

/// (H, W) with the shorter side n and the longer one n·long/short, rounded down: torchvision's Resize(n).
Shape small_size(const Shape& image, int64_t n);

/// The n×n window around the center, as torchvision's CenterCrop places it: halves round to even. The image is at least
/// that large.
Crop central_window(const Shape& image, int64_t n);

/// Shares of an image's area, 0 < lo ≤ hi ≤ 1.
struct AreaRange {
  double lo = 0.08, hi = 1;
};

/// Szegedy et al., "Going deeper with convolutions" (arXiv 1409.4842), as torchvision's RandomResizedCrop: an area of
/// `range` of the image, uniformly, with an aspect ratio (width over height) of 3/4 to 4/3, log-uniformly; after ten
/// windows that do not fit, the largest central one with a ratio in that range, whatever its area. (TensorFlow's
/// sample_distorted_bounding_box, which big_vision calls with 5 to 100 %, draws the ratio uniformly.)
Crop inception_window(const Shape& image, Rng& rng, AreaRange range = {});

/// What inception_window does with four uniform numbers in [0, 1) of one attempt: area, ratio, top, left. Nothing (a
/// height of 0) when that window does not fit.
Crop inception_attempt(const Shape& image, double area, double ratio, double top, double left, AreaRange range = {});

}  // namespace sked
