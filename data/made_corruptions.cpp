#include "data/made_corruptions.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/error.h"

namespace sked {
namespace {

using Strengths = std::array<double, kSeverities>;

constexpr std::array<Strengths, names_of(MadeCorruption{}).size()> kStrengths{{{.04, .06, .08, .09, .1},
                                                                               {.01, .02, .03, .05, .07},
                                                                               {.4, .6, .7, .8, 1},
                                                                               {.05, .1, .15, .2, .3},
                                                                               {.75, .5, .4, .3, .15}}};

/// Values in [0, 1], (H, W, C).
struct Values {
  int64_t height, width, channels;
  std::vector<double> x;

  double& at(int64_t h, int64_t w, int64_t c) { return x[static_cast<size_t>((h * width + w) * channels + c)]; }
  double at(int64_t h, int64_t w, int64_t c) const { return x[static_cast<size_t>((h * width + w) * channels + c)]; }
};

void add_noise(Values& v, double c, Rng rng) {
  for (double& x : v.x) x += c * rng.normal();
}

void add_impulses(Values& v, double c, Rng rng) {
  for (double& x : v.x) {
    const bool hit = rng.uniform() < c, white = rng.uniform() < 0.5f;
    if (hit) x = white ? 1 : 0;
  }
}

/// Weights of a Gaussian at -r … r, r = 4 deviations; they sum to one.
std::vector<double> gaussian(double deviation) {
  const auto radius = static_cast<int64_t>(4 * deviation + 0.5);
  std::vector<double> weights;
  double sum = 0;
  for (int64_t i = -radius; i <= radius; ++i) {
    const double x = static_cast<double>(i) / deviation;
    sum += weights.emplace_back(std::exp(-0.5 * x * x));
  }
  for (double& w : weights) w /= sum;
  return weights;
}

/// Along columns, or along rows.
Values blurred(const Values& v, const std::vector<double>& weights, bool columns) {
  Values result = v;
  const auto radius = static_cast<int64_t>(weights.size() / 2);
  for (int64_t h = 0; h < v.height; ++h)
    for (int64_t w = 0; w < v.width; ++w)
      for (int64_t c = 0; c < v.channels; ++c) {
        double sum = 0;
        for (int64_t i = -radius; i <= radius; ++i) {
          const int64_t y = columns ? std::clamp<int64_t>(h + i, 0, v.height - 1) : h;
          const int64_t x = columns ? w : std::clamp<int64_t>(w + i, 0, v.width - 1);
          sum += weights[static_cast<size_t>(i + radius)] * v.at(y, x, c);
        }
        result.at(h, w, c) = sum;
      }
  return result;
}

void blur(Values& v, double c) {
  const std::vector<double> weights = gaussian(c * static_cast<double>(std::min(v.height, v.width)) / 32);
  v = blurred(blurred(v, weights, true), weights, false);
}

void brighten(Values& v, double c) {
  for (size_t i = 0; i < v.x.size(); i += static_cast<size_t>(v.channels)) {
    const auto pixel = v.x.begin() + static_cast<int64_t>(i);
    const double value = *std::max_element(pixel, pixel + v.channels), brighter = std::min(value + c, 1.0);
    for (int64_t k = 0; k < v.channels; ++k) pixel[k] = value > 0 ? pixel[k] * brighter / value : brighter;
  }
}

void flatten(Values& v, double c) {
  const double pixels = static_cast<double>(v.height * v.width);
  for (int64_t k = 0; k < v.channels; ++k) {
    double mean = 0;
    for (int64_t i = k; i < static_cast<int64_t>(v.x.size()); i += v.channels) mean += v.x[static_cast<size_t>(i)];
    mean /= pixels;
    for (int64_t i = k; i < static_cast<int64_t>(v.x.size()); i += v.channels) {
      double& x = v.x[static_cast<size_t>(i)];
      x = (x - mean) * c + mean;
    }
  }
}

/// The images of another dataset under one corruption.
class Corrupted final : public DatasetView {
 public:
  Corrupted(std::shared_ptr<const Dataset> base, MadeCorruption kind, int severity)
      : DatasetView(std::move(base)), kind_(kind), severity_(severity) {}
  bool encoded() const override { return false; }
  Tensor image(int64_t i) const override { return corrupted(base().image(i), kind_, severity_, i); }

 private:
  MadeCorruption kind_;
  int severity_;
};

}  // namespace

Tensor corrupted(const Tensor& image, MadeCorruption kind, int severity, int64_t example) {
  require(image.defined() && image.dtype() == DType::u8 && image.ndim() == 3 && image.numel() > 0 &&
              (image.dim(2) == 1 || image.dim(2) == 3),
          "corrupted", "expected an image u8 (H, W, 1 or 3), got ", image);
  require(severity >= 1 && severity <= kSeverities, "corrupted", "expected a severity of 1 to ", kSeverities, ", got ",
          severity);
  Values v{image.dim(0), image.dim(1), image.dim(2), {}};
  for (const uint8_t byte : image.to_vector<uint8_t>()) v.x.push_back(byte / 255.0);
  const double c = kStrengths[static_cast<size_t>(kind)][static_cast<size_t>(severity - 1)];
  constexpr uint64_t kStream = 0x636F72727570;  // "corrup"
  const Rng rng({0, kStream + static_cast<uint64_t>(kind), static_cast<uint64_t>(severity)},
                static_cast<uint64_t>(example));
  switch (kind) {
    case MadeCorruption::gaussian_noise:
      add_noise(v, c, rng);
      break;
    case MadeCorruption::impulse_noise:
      add_impulses(v, c, rng);
      break;
    case MadeCorruption::gaussian_blur:
      blur(v, c);
      break;
    case MadeCorruption::brightness:
      brighten(v, c);
      break;
    case MadeCorruption::contrast:
      flatten(v, c);
      break;
  }
  Tensor result = Tensor::empty(image.shape(), DType::u8);
  for (size_t i = 0; i < v.x.size(); ++i)
    result.data<uint8_t>()[i] = static_cast<uint8_t>(std::lround(255 * std::clamp(v.x[i], 0.0, 1.0)));
  return result;
}

Corruptions made_corruptions(std::shared_ptr<const Dataset> base) {
  Corruptions all;
  for (size_t k = 0; k < kStrengths.size(); ++k) {
    const auto kind = static_cast<MadeCorruption>(k);
    all.list.push_back({.name = name_of(kind), .severities = {1, 2, 3, 4, 5}, .open = [base, kind](int severity) {
                          return std::make_shared<Corrupted>(base, kind, severity);
                        }});
  }
  return all;
}

}  // namespace sked
