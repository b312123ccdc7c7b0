#include "data/image_color.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

namespace sked {
namespace {

/// a + factor·(b - a), cut to a byte: Pillow's Image.blend, in float.
uint8_t blend(int a, int b, float factor) {
  return static_cast<uint8_t>(std::clamp(static_cast<float>(a) + factor * static_cast<float>(b - a), 0.0f, 255.0f));
}

/// BT.601 luma of a pixel: 16 fractional bits.
int gray(const uint8_t* pixel, int64_t channels) {
  if (channels == 1) return pixel[0];
  return (pixel[0] * 19595 + pixel[1] * 38470 + pixel[2] * 7471 + 0x8000) >> 16;
}

using Table = std::array<uint8_t, 256>;

/// Replaces the bytes of one channel.
void look_up(uint8_t* image, const Shape& shape, int64_t channel, const Table& table) {
  for (int64_t i = channel; i < shape.numel(); i += shape[2]) image[i] = table[image[i]];
}

std::array<int64_t, 256> histogram(const uint8_t* image, const Shape& shape, int64_t channel) {
  std::array<int64_t, 256> counts{};
  for (int64_t i = channel; i < shape.numel(); i += shape[2]) ++counts[image[i]];
  return counts;
}

struct Hsv {
  uint8_t h = 0, s = 0, v = 0;
};

uint8_t to_byte(float x) { return static_cast<uint8_t>(std::clamp(static_cast<int>(x), 0, 255)); }

/// Python's colorsys in bytes, as Pillow converts.
Hsv hsv_of(const uint8_t* rgb) {
  const int r = rgb[0], g = rgb[1], b = rgb[2], most = std::max({r, g, b}), least = std::min({r, g, b});
  Hsv hsv{0, 0, static_cast<uint8_t>(most)};
  if (most == least) return hsv;
  const auto spread = static_cast<float>(most - least);
  const auto distance = [&](int channel) { return static_cast<float>(most - channel) / spread; };
  double h = 0;
  if (r == most) {
    h = static_cast<double>(distance(b) - distance(g));
  } else if (g == most) {
    h = 2.0 + static_cast<double>(distance(r)) - static_cast<double>(distance(b));
  } else {
    h = 4.0 + static_cast<double>(distance(g)) - static_cast<double>(distance(r));
  }
  const double turn = static_cast<double>(static_cast<float>(h)) / 6.0 + 1.0;
  const auto fraction = static_cast<float>(turn - std::floor(turn));
  hsv.h = to_byte(static_cast<float>(static_cast<double>(fraction) * 255.0));
  hsv.s = to_byte(static_cast<float>(static_cast<double>(spread / static_cast<float>(most)) * 255.0));
  return hsv;
}

void to_rgb(const Hsv& hsv, uint8_t* rgb) {
  const uint8_t v = hsv.v;
  if (hsv.s == 0) {
    std::fill_n(rgb, 3, v);
    return;
  }
  const double sextant = static_cast<double>(hsv.h) * 6.0 / 255.0, value = v;
  const int i = static_cast<int>(std::floor(sextant));
  const auto f = static_cast<double>(static_cast<float>(sextant - i));
  const auto s = static_cast<double>(static_cast<float>(static_cast<double>(hsv.s) / 255.0));
  const auto byte = [](double x) { return static_cast<uint8_t>(std::clamp(std::round(x), 0.0, 255.0)); };
  const uint8_t p = byte(value * (1.0 - s)), q = byte(value * (1.0 - s * f)), t = byte(value * (1.0 - s * (1.0 - f)));
  const std::array<std::array<uint8_t, 3>, 6> by_sextant{
      {{v, t, p}, {q, v, p}, {p, v, t}, {p, q, v}, {t, p, v}, {v, p, q}}};
  std::copy_n(by_sextant[static_cast<size_t>(i % 6)].begin(), 3, rgb);
}

}  // namespace

void adjust_brightness(uint8_t* image, const Shape& shape, double factor) {
  Table table{};
  for (int v = 0; v < 256; ++v) table[static_cast<size_t>(v)] = blend(0, v, static_cast<float>(factor));
  for (int64_t i = 0; i < shape.numel(); ++i) image[i] = table[image[i]];
}

void adjust_contrast(uint8_t* image, const Shape& shape, double factor) {
  const int64_t channels = shape[2], pixels = shape[0] * shape[1];
  int64_t sum = 0;
  for (int64_t p = 0; p < pixels; ++p) sum += gray(image + p * channels, channels);
  const int mean = static_cast<int>(static_cast<double>(sum) / static_cast<double>(pixels) + 0.5);
  Table table{};
  for (int v = 0; v < 256; ++v) table[static_cast<size_t>(v)] = blend(mean, v, static_cast<float>(factor));
  for (int64_t i = 0; i < shape.numel(); ++i) image[i] = table[image[i]];
}

void adjust_saturation(uint8_t* image, const Shape& shape, double factor) {
  const int64_t channels = shape[2];
  if (channels == 1) return;
  for (int64_t i = 0; i < shape.numel(); i += channels) {
    const int luma = gray(image + i, channels);
    for (int64_t c = 0; c < channels; ++c) image[i + c] = blend(luma, image[i + c], static_cast<float>(factor));
  }
}

void adjust_hue(uint8_t* image, const Shape& shape, double turn) {
  if (shape[2] != 3) return;
  const auto shift = static_cast<uint8_t>(static_cast<int>(turn * 255));
  for (int64_t i = 0; i < shape.numel(); i += 3) {
    Hsv hsv = hsv_of(image + i);
    hsv.h = static_cast<uint8_t>(hsv.h + shift);
    to_rgb(hsv, image + i);
  }
}

void adjust_sharpness(uint8_t* image, const Shape& shape, double factor) {
  const int64_t height = shape[0], width = shape[1], channels = shape[2], stride = width * channels;
  const std::vector<uint8_t> original(image, image + shape.numel());
  for (int64_t r = 1; r + 1 < height; ++r) {
    for (int64_t i = r * stride + channels; i < (r + 1) * stride - channels; ++i) {
      const uint8_t* p = original.data() + i;
      const int around = p[-stride - channels] + p[-stride] + p[-stride + channels] + p[-channels] + p[channels] +
                         p[stride - channels] + p[stride] + p[stride + channels];
      image[i] = blend((2 * (around + 5 * p[0]) + 13) / 26, p[0], static_cast<float>(factor));
    }
  }
}

void posterize(uint8_t* image, const Shape& shape, int bits) {
  const auto mask = static_cast<uint8_t>(0xFF << (8 - bits));
  for (int64_t i = 0; i < shape.numel(); ++i) image[i] &= mask;
}

void solarize(uint8_t* image, const Shape& shape, double threshold) {
  for (int64_t i = 0; i < shape.numel(); ++i) {
    if (static_cast<double>(image[i]) >= threshold) image[i] = static_cast<uint8_t>(255 - image[i]);
  }
}

void autocontrast(uint8_t* image, const Shape& shape) {
  for (int64_t c = 0; c < shape[2]; ++c) {
    const auto counts = histogram(image, shape, c);
    int lo = 0, hi = 255;
    while (lo < 255 && counts[static_cast<size_t>(lo)] == 0) ++lo;
    while (hi > 0 && counts[static_cast<size_t>(hi)] == 0) --hi;
    if (hi <= lo) continue;
    const double scale = 255.0 / (hi - lo), offset = -lo * scale;
    Table table{};
    for (int v = 0; v < 256; ++v)
      table[static_cast<size_t>(v)] = static_cast<uint8_t>(std::clamp(static_cast<int>(v * scale + offset), 0, 255));
    look_up(image, shape, c, table);
  }
}

void equalize(uint8_t* image, const Shape& shape) {
  for (int64_t c = 0; c < shape[2]; ++c) {
    const auto counts = histogram(image, shape, c);
    int last = 255;
    while (last > 0 && counts[static_cast<size_t>(last)] == 0) --last;
    const int64_t step = (shape[0] * shape[1] - counts[static_cast<size_t>(last)]) / 255;
    if (step == 0) continue;
    Table table{};
    int64_t below = step / 2;
    for (size_t v = 0; v < 256; below += counts[v++])
      table[v] = static_cast<uint8_t>(std::min<int64_t>(below / step, 255));
    look_up(image, shape, c, table);
  }
}

}  // namespace sked
