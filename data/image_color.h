#pragma once
// Photometric operations on images u8 (H, W, 1 or 3), bit for bit Pillow's (ImageEnhance, ImageOps), which
// torchvision's ColorJitter and RandAugment use. All work in place on `pixels` pixels of `channels` channels.

#include <cstdint>

#include "core/shape.h"

namespace sked {

/// black + factor·(image - black); factor 0 is black, 1 the image, above 1 beyond it, clipped.
void adjust_brightness(uint8_t* image, const Shape& shape, double factor);
/// The same around the mean gray of the image, rounded.
void adjust_contrast(uint8_t* image, const Shape& shape, double factor);
/// The same around the image's own gray version (ITU-R BT.601 luma).
void adjust_saturation(uint8_t* image, const Shape& shape, double factor);
/// Hue turned by `turn` of the circle, -0.5 … 0.5, in an HSV of bytes. Leaves gray images alone.
void adjust_hue(uint8_t* image, const Shape& shape, double turn);
/// The same around the image smoothed by (1 1 1, 1 5 1, 1 1 1)/13, its border left alone.
void adjust_sharpness(uint8_t* image, const Shape& shape, double factor);

/// Keeps the `bits` (1 … 8) highest bits of every byte.
void posterize(uint8_t* image, const Shape& shape, int bits);
/// Inverts bytes of at least `threshold`.
void solarize(uint8_t* image, const Shape& shape, double threshold);
/// Stretches each channel from its least and greatest byte to 0 and 255.
void autocontrast(uint8_t* image, const Shape& shape);
/// Flattens each channel's histogram.
void equalize(uint8_t* image, const Shape& shape);

}  // namespace sked
