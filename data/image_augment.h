#pragma once
// RandAugment (Cubuk et al., arXiv 1909.13719) as torchvision has it: its operations and the strength of each.

#include <array>
#include <cstdint>
#include <string_view>

#include "core/shape.h"

namespace sked {

/// The image through x' = m0 x + m1 y + m2, y' = m3 x + m4 y + m5 (from output to input pixels, centers at halves),
/// nearest pixel, black outside: bit for bit Pillow's transform(AFFINE, NEAREST). `out` has H·W·C bytes and is not
/// `image`. H and W are below 32768.
void affine(const uint8_t* image, const Shape& shape, const std::array<double, 6>& matrix, uint8_t* out);

enum class Augmentation {
  identity,
  shear_x,
  shear_y,
  translate_x,
  translate_y,
  rotate,
  brightness,
  color,
  contrast,
  sharpness,
  posterize,
  solarize,
  autocontrast,
  equalize
};
inline constexpr int kAugmentations = 14;
inline constexpr int kMostMagnitude = 30;

/// The strength that magnitude 0 … kMostMagnitude means for an operation on an image of this size, torchvision's f32;
/// `negative` turns the sign of those that have one (shear, translation, rotation, brightness, color, contrast,
/// sharpness).
double strength_of(Augmentation operation, int magnitude, bool negative, const Shape& shape);

/// One operation with this strength: `image` to `out` (both H·W·C bytes, not the same).
void augment(Augmentation operation, double strength, const uint8_t* image, const Shape& shape, uint8_t* out);

}  // namespace sked
