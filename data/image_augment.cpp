#include "data/image_augment.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "data/image_color.h"

namespace sked {
namespace {

/// Pillow's rotate: counter-clockwise by `degrees` around the center.
std::array<double, 6> rotation(double degrees, const Shape& shape) {
  const double angle = -degrees * std::numbers::pi / 180.0;
  const auto rounded = [](double x) { return std::nearbyint(x * 1e15) / 1e15; };
  const double cos = rounded(std::cos(angle)), sin = rounded(std::sin(angle));
  const double x = static_cast<double>(shape[1]) / 2, y = static_cast<double>(shape[0]) / 2;
  return {cos, sin, cos * -x + sin * -y + x, -sin, cos, -sin * -x + cos * -y + y};
}

/// Element `magnitude` of torch.linspace(begin, end, kMostMagnitude + 1) in f32, to the bit: from either end to the
/// middle, each product and sum rounded once.
double linspace(double begin, double end, int magnitude) {
  const auto first = static_cast<float>(begin), last = static_cast<float>(end);
  const float step = (last - first) / kMostMagnitude;
  if (2 * magnitude < kMostMagnitude) return std::fma(step, static_cast<float>(magnitude), first);
  return std::fma(-step, static_cast<float>(kMostMagnitude - magnitude), last);
}

bool has_sign(Augmentation operation) {
  return operation >= Augmentation::shear_x && operation <= Augmentation::sharpness;
}

}  // namespace

void affine(const uint8_t* image, const Shape& shape, const std::array<double, 6>& m, uint8_t* out) {
  const int64_t height = shape[0], width = shape[1], channels = shape[2];
  // 16 fractional bits
  const auto fixed = [](double v) { return static_cast<int64_t>(std::floor(v * 65536.0 + 0.5)); };
  const int64_t m0 = fixed(m[0]), m1 = fixed(m[1]), m3 = fixed(m[3]), m4 = fixed(m[4]);
  int64_t row_x = fixed(m[2] + m[0] * 0.5 + m[1] * 0.5), row_y = fixed(m[5] + m[3] * 0.5 + m[4] * 0.5);
  for (int64_t r = 0; r < height; ++r, row_x += m1, row_y += m4) {
    int64_t x = row_x, y = row_y;
    for (int64_t c = 0; c < width; ++c, x += m0, y += m3, out += channels) {
      const int64_t from_x = x >> 16, from_y = y >> 16;
      if (from_x >= 0 && from_x < width && from_y >= 0 && from_y < height) {
        std::copy_n(image + (from_y * width + from_x) * channels, channels, out);
      } else {
        std::fill_n(out, channels, uint8_t{0});
      }
    }
  }
}

double strength_of(Augmentation operation, int magnitude, bool negative, const Shape& shape) {
  const auto translation = [](int64_t side) { return 150.0 / 331.0 * static_cast<double>(side); };
  double strength = 0;
  switch (operation) {
    case Augmentation::shear_x:
    case Augmentation::shear_y:
      strength = linspace(0, 0.3, magnitude);
      break;
    case Augmentation::translate_x:
      strength = linspace(0, translation(shape[1]), magnitude);
      break;
    case Augmentation::translate_y:
      strength = linspace(0, translation(shape[0]), magnitude);
      break;
    case Augmentation::rotate:
      strength = linspace(0, 30, magnitude);
      break;
    case Augmentation::brightness:
    case Augmentation::color:
    case Augmentation::contrast:
    case Augmentation::sharpness:
      strength = linspace(0, 0.9, magnitude);
      break;
    case Augmentation::posterize:
      return 8 - std::nearbyint(magnitude / (kMostMagnitude / 4.0));
    case Augmentation::solarize:
      return linspace(255, 0, magnitude);
    default:
      return 0;
  }
  return negative && has_sign(operation) ? -strength : strength;
}

void augment(Augmentation operation, double strength, const uint8_t* image, const Shape& shape, uint8_t* out) {
  switch (operation) {
    case Augmentation::shear_x:
      return affine(image, shape, {1, strength, 0, 0, 1, 0}, out);
    case Augmentation::shear_y:
      return affine(image, shape, {1, 0, 0, strength, 1, 0}, out);
    case Augmentation::translate_x:
      return affine(image, shape, {1, 0, -std::trunc(strength), 0, 1, 0}, out);
    case Augmentation::translate_y:
      return affine(image, shape, {1, 0, 0, 0, 1, -std::trunc(strength)}, out);
    case Augmentation::rotate:
      return affine(image, shape, rotation(strength, shape), out);
    default:
      break;
  }
  std::copy_n(image, shape.numel(), out);
  switch (operation) {
    case Augmentation::brightness:
      return adjust_brightness(out, shape, 1 + strength);
    case Augmentation::color:
      return adjust_saturation(out, shape, 1 + strength);
    case Augmentation::contrast:
      return adjust_contrast(out, shape, 1 + strength);
    case Augmentation::sharpness:
      return adjust_sharpness(out, shape, 1 + strength);
    case Augmentation::posterize:
      return posterize(out, shape, static_cast<int>(strength));
    case Augmentation::solarize:
      return solarize(out, shape, strength);
    case Augmentation::autocontrast:
      return autocontrast(out, shape);
    case Augmentation::equalize:
      return equalize(out, shape);
    default:
      return;
  }
}

}  // namespace sked
