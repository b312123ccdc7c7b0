#include "data/image_resample.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace sked {
namespace {

constexpr int kBits = 22;  // of a weight's fraction, as in Pillow's Resample.c

/// The weights of one axis: output i is Σ_k weights[i·most + k] · input[first[i] + k], k < count[i].
struct Axis {
  int64_t most = 0;
  std::vector<int64_t> first, count;
  std::vector<int32_t> weights;
};

Axis make_axis(int64_t in, int64_t out) {
  const double scale = static_cast<double>(in) / static_cast<double>(out), filter = std::max(scale, 1.0);
  Axis axis;
  axis.most = static_cast<int64_t>(std::ceil(filter)) * 2 + 1;
  axis.first.resize(static_cast<size_t>(out));
  axis.count.resize(static_cast<size_t>(out));
  axis.weights.assign(static_cast<size_t>(out * axis.most), 0);
  std::vector<double> w(static_cast<size_t>(axis.most));
  for (int64_t i = 0; i < out; ++i) {
    const double center = (static_cast<double>(i) + 0.5) * scale;
    const auto begin = std::max(int64_t{0}, static_cast<int64_t>(center - filter + 0.5));
    const auto end = std::min(in, static_cast<int64_t>(center + filter + 0.5));
    double sum = 0;
    for (int64_t k = 0; k < end - begin; ++k) {
      const double x = (static_cast<double>(k + begin) - center + 0.5) * (1.0 / filter);
      sum += w[static_cast<size_t>(k)] = std::max(0.0, 1.0 - std::abs(x));
    }
    axis.first[static_cast<size_t>(i)] = begin;
    axis.count[static_cast<size_t>(i)] = end - begin;
    for (int64_t k = 0; k < end - begin; ++k) {
      const double share = sum != 0 ? w[static_cast<size_t>(k)] / sum : w[static_cast<size_t>(k)];
      axis.weights[static_cast<size_t>(i * axis.most + k)] = static_cast<int32_t>(0.5 + share * (1 << kBits));
    }
  }
  return axis;
}

uint8_t rounded(int32_t sum) { return static_cast<uint8_t>(std::clamp(sum >> kBits, 0, 255)); }

/// One row of C channels along the axis; `in` begins at the window.
template <int64_t C>
void row_pass(const uint8_t* in, const Axis& axis, uint8_t* out) {
  for (size_t i = 0; i < axis.first.size(); ++i, out += C) {
    const uint8_t* p = in + axis.first[i] * C;
    const int32_t* w = axis.weights.data() + static_cast<int64_t>(i) * axis.most;
    int32_t sums[C];
    for (int64_t c = 0; c < C; ++c) sums[c] = 1 << (kBits - 1);
    for (int64_t k = 0; k < axis.count[i]; ++k, p += C) {
      for (int64_t c = 0; c < C; ++c) sums[c] += p[c] * w[k];
    }
    for (int64_t c = 0; c < C; ++c) out[c] = rounded(sums[c]);
  }
}

void row_pass(const uint8_t* in, int64_t channels, const Axis& axis, uint8_t* out) {
  if (channels == 3) return row_pass<3>(in, axis, out);
  if (channels == 1) return row_pass<1>(in, axis, out);
  const auto wide = static_cast<size_t>(channels);
  for (size_t i = 0; i < axis.first.size(); ++i) {
    for (size_t c = 0; c < wide; ++c) {
      int32_t sum = 1 << (kBits - 1);
      for (int64_t k = 0; k < axis.count[i]; ++k)
        sum += in[static_cast<size_t>(axis.first[i] + k) * wide + c] *
               axis.weights[i * static_cast<size_t>(axis.most) + static_cast<size_t>(k)];
      out[i * wide + c] = rounded(sum);
    }
  }
}

/// Rows of `bytes` bytes, `stride` apart, along the axis.
void column_pass(const uint8_t* in, int64_t stride, int64_t bytes, const Axis& axis, uint8_t* out) {
  std::vector<int32_t> sums(static_cast<size_t>(bytes));
  for (size_t i = 0; i < axis.first.size(); ++i, out += bytes) {
    std::fill(sums.begin(), sums.end(), 1 << (kBits - 1));
    for (int64_t k = 0; k < axis.count[i]; ++k) {
      const uint8_t* row = in + (axis.first[i] + k) * stride;
      const int32_t w = axis.weights[i * static_cast<size_t>(axis.most) + static_cast<size_t>(k)];
      for (int64_t b = 0; b < bytes; ++b) sums[static_cast<size_t>(b)] += row[b] * w;
    }
    for (int64_t b = 0; b < bytes; ++b) out[b] = rounded(sums[static_cast<size_t>(b)]);
  }
}

const double kLogRatio = std::log(4.0 / 3.0);

}  // namespace

void resample(const uint8_t* image, const Shape& shape, const Crop& window, int64_t height, int64_t width,
              uint8_t* out) {
  const int64_t channels = shape[2], stride = shape[1] * channels;
  const uint8_t* corner = image + window.top * stride + window.left * channels;
  std::vector<uint8_t> narrowed;
  const uint8_t* rows = corner;
  int64_t rows_stride = stride;
  if (width != window.width) {
    const Axis axis = make_axis(window.width, width);
    narrowed.resize(static_cast<size_t>(window.height * width * channels));
    for (int64_t r = 0; r < window.height; ++r) {
      row_pass(corner + r * stride, channels, axis, narrowed.data() + r * width * channels);
    }
    rows = narrowed.data();
    rows_stride = width * channels;
  }
  if (height != window.height)
    return column_pass(rows, rows_stride, width * channels, make_axis(window.height, height), out);
  for (int64_t r = 0; r < height; ++r)
    std::copy_n(rows + r * rows_stride, width * channels, out + r * width * channels);
}

Shape small_size(const Shape& image, int64_t n) {
  const int64_t height = image[0], width = image[1];
  // As Python divides: n * long / short in double, then int().
  const auto longer = [n](int64_t a, int64_t b) {
    return static_cast<int64_t>(static_cast<double>(n * a) / static_cast<double>(b));
  };
  return height <= width ? Shape{n, longer(width, height)} : Shape{longer(height, width), n};
}

Crop central_window(const Shape& image, int64_t n) {
  const auto half = [n](int64_t side) {
    return static_cast<int64_t>(std::nearbyint(static_cast<double>(side - n) / 2));
  };
  return {half(image[0]), half(image[1]), n, n};
}

Crop inception_attempt(const Shape& image, double area, double ratio, double top, double left, AreaRange range) {
  const auto height = static_cast<double>(image[0]), width = static_cast<double>(image[1]);
  const double target = height * width * (range.lo + (range.hi - range.lo) * area);
  const double aspect = std::exp(kLogRatio * (2 * ratio - 1));
  const auto w = static_cast<int64_t>(std::nearbyint(std::sqrt(target * aspect)));
  const auto h = static_cast<int64_t>(std::nearbyint(std::sqrt(target / aspect)));
  if (w < 1 || h < 1 || w > image[1] || h > image[0]) return {};
  return {static_cast<int64_t>(top * static_cast<double>(image[0] - h + 1)),
          static_cast<int64_t>(left * static_cast<double>(image[1] - w + 1)), h, w};
}

Crop inception_window(const Shape& image, Rng& rng, AreaRange range) {
  for (int attempt = 0; attempt < 10; ++attempt) {
    double u[4];
    for (double& draw : u) draw = static_cast<double>(rng.uniform());
    const Crop window = inception_attempt(image, u[0], u[1], u[2], u[3], range);
    if (window.height > 0) return window;
  }
  const auto height = static_cast<double>(image[0]), width = static_cast<double>(image[1]);
  int64_t h = image[0], w = image[1];
  if (width / height < 0.75) h = std::max<int64_t>(1, static_cast<int64_t>(std::nearbyint(width / 0.75)));
  if (width / height > 4.0 / 3.0) w = std::max<int64_t>(1, static_cast<int64_t>(std::nearbyint(height * (4.0 / 3.0))));
  return {(image[0] - h) / 2, (image[1] - w) / 2, h, w};
}

}  // namespace sked
