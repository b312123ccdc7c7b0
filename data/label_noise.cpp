#include "data/label_noise.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/error.h"
#include "core/rng.h"
#include "data/dataset.h"

namespace sked {
namespace {

// Streams of the noise seed.
constexpr uint64_t kFlipRates = 0x6e6f6973'00000001;  // "nois"
constexpr uint64_t kProjections = 0x6e6f6973'00000002;
constexpr uint64_t kLabels = 0x6e6f6973'00000003;

constexpr double kRateDeviation = 0.1;

void check_arguments(const Tensor& labels, int64_t classes, double rate) {
  require(classes >= 2, "label_noise", "expected at least 2 classes, got ", classes);
  require(rate >= 0.0 && rate <= 1.0, "label_noise", "expected a rate in [0, 1], got ", rate);
  check_labels(labels, classes, "label_noise");
}

/// q ~ N(rate, 0.1²) truncated to [0, 1], by rejection: with the rate inside, at least about half of the draws stay.
double flip_rate(const InstanceNoise& noise, int64_t example) {
  Rng rng({noise.seed, kFlipRates, noise.split}, static_cast<uint64_t>(example));
  for (;;) {
    const double q = noise.rate + kRateDeviation * static_cast<double>(rng.normal());
    if (q >= 0.0 && q <= 1.0) return q;
  }
}

/// w_y, f32 (F, K): coordinate f·K + k of class y.
std::vector<float> projection(const InstanceNoise& noise, int64_t label, int64_t features, int64_t classes) {
  std::vector<float> w(static_cast<size_t>(features * classes));
#pragma omp parallel for
  for (size_t block = 0; block < (w.size() + 3) / 4; ++block) {
    const auto z = normal4(random_words({noise.seed, kProjections, 0}, static_cast<uint64_t>(label), 0, block));
    std::copy_n(z.begin(), std::min<size_t>(4, w.size() - 4 * block),
                w.begin() + static_cast<std::ptrdiff_t>(4 * block));
  }
  return w;
}

/// s = x̂ w for one image or vector: scores (K), with x̂ the image less the mean, scaled to length `sharpness`.
template <class T>
void scores(const T* pixels, const float* mean, const std::vector<float>& w, double sharpness, std::vector<double>& s) {
  const size_t classes = s.size(), features = w.size() / classes;
  double squares = 0.0;
  std::fill(s.begin(), s.end(), 0.0);
  for (size_t f = 0; f < features; ++f) {
    const double x = static_cast<double>(pixels[f]) - static_cast<double>(mean[f]);
    squares += x * x;
    for (size_t k = 0; k < classes; ++k) s[k] += x * static_cast<double>(w[f * classes + k]);
  }
  const double scale = squares > 0.0 ? sharpness / std::sqrt(squares) : 0.0;
  for (double& score : s) score *= scale;
}

/// p = q softmax(s without class y), p_y = 1 - q.
void flip_distribution(const std::vector<double>& s, size_t label, double q, float* p) {
  double highest = -HUGE_VAL, sum = 0.0;
  for (size_t k = 0; k < s.size(); ++k) highest = k == label ? highest : std::max(highest, s[k]);
  for (size_t k = 0; k < s.size(); ++k) sum += k == label ? 0.0 : std::exp(s[k] - highest);
  for (size_t k = 0; k < s.size(); ++k) {
    p[k] = static_cast<float>(k == label ? 1.0 - q : q * std::exp(s[k] - highest) / sum);
  }
}

bool is_images_or_vectors(const Tensor& x) {
  if (!x.defined()) return false;
  return x.dtype() == DType::u8 ? x.ndim() == 4 : x.dtype() == DType::f32 && x.ndim() == 2;
}

/// Adds up rows (N, F) in `Sum`, which has no rounding for T = uint8_t, and divides.
template <class Sum, class T>
Tensor mean_of_rows(const T* x, int64_t count, int64_t features) {
  std::vector<Sum> sums(static_cast<size_t>(features), 0);
  for (int64_t i = 0; i < count; ++i) {
    for (int64_t f = 0; f < features; ++f) sums[static_cast<size_t>(f)] += x[i * features + f];
  }
  Tensor mean = Tensor::empty({features});
  for (int64_t f = 0; f < features; ++f) {
    mean.data<float>()[f] =
        static_cast<float>(static_cast<double>(sums[static_cast<size_t>(f)]) / static_cast<double>(count));
  }
  return mean;
}

}  // namespace

Tensor symmetric_noise(const Tensor& labels, int64_t classes, double rate) {
  check_arguments(labels, classes, rate);
  Tensor p = Tensor::full({labels.dim(0), classes}, rate / static_cast<double>(classes - 1));
  const int64_t* y = labels.data<int64_t>();
  for (int64_t i = 0; i < labels.dim(0); ++i) p.data<float>()[i * classes + y[i]] = static_cast<float>(1.0 - rate);
  return p;
}

Tensor pair_noise(const Tensor& labels, int64_t classes, double rate) {
  check_arguments(labels, classes, rate);
  Tensor p = Tensor::zeros({labels.dim(0), classes});
  const int64_t* y = labels.data<int64_t>();
  for (int64_t i = 0; i < labels.dim(0); ++i) {
    float* row = p.data<float>() + i * classes;
    row[y[i]] = static_cast<float>(1.0 - rate);
    row[(y[i] + 1) % classes] = static_cast<float>(rate);
  }
  return p;
}

Tensor instance_noise(const Tensor& images, const Tensor& labels, const Tensor& mean, int64_t classes,
                      const InstanceNoise& noise) {
  check_arguments(labels, classes, noise.rate);
  require(is_images_or_vectors(images) && images.dim(0) == labels.dim(0), "label_noise", "expected images (",
          labels.dim(0), ", H, W, C) u8 or vectors f32, got ", images);
  const int64_t count = images.dim(0), features = images.shape().product(1, images.ndim());
  require_shape(mean, {features}, "label_noise", "mean");
  require(noise.sharpness >= 0.0 && std::isfinite(noise.sharpness), "label_noise", "expected a sharpness >= 0, got ",
          noise.sharpness);

  const bool bytes = images.dtype() == DType::u8;
  const int64_t* y = labels.data<int64_t>();
  const float* m = mean.data<float>();
  Tensor distributions = Tensor::empty({count, classes});
  float* p = distributions.data<float>();
  // Class by class, so that one projection is in memory at a time: with many classes all of them would not fit.
  for (int64_t label = 0; label < classes; ++label) {
    const std::vector<float> w = projection(noise, label, features, classes);
#pragma omp parallel
    {
      std::vector<double> s(static_cast<size_t>(classes));
#pragma omp for
      for (int64_t i = 0; i < count; ++i) {
        if (y[i] != label) continue;
        if (bytes)
          scores(images.data<uint8_t>() + i * features, m, w, noise.sharpness, s);
        else
          scores(images.data<float>() + i * features, m, w, noise.sharpness, s);
        flip_distribution(s, static_cast<size_t>(label), flip_rate(noise, i), p + i * classes);
      }
    }
  }
  return distributions;
}

Tensor mean_image(const Tensor& images) {
  require(is_images_or_vectors(images) && images.dim(0) > 0, "mean_image",
          "expected images (N, H, W, C) u8 or vectors (N, D) f32 with N > 0, got ", images);
  const int64_t count = images.dim(0), features = images.shape().product(1, images.ndim());
  if (images.dtype() == DType::u8) return mean_of_rows<uint64_t>(images.data<uint8_t>(), count, features);
  return mean_of_rows<double>(images.data<float>(), count, features);
}

Tensor sample_labels(const Tensor& distributions, uint64_t seed, uint64_t split, int64_t first) {
  require(distributions.defined() && distributions.dtype() == DType::f32 && distributions.ndim() == 2 &&
              distributions.dim(1) > 0,
          "sample_labels", "expected distributions (N, K) f32 with K > 0, got ", distributions);
  const int64_t count = distributions.dim(0), classes = distributions.dim(1);
  Tensor labels = Tensor::empty({count}, DType::i64);
  for (int64_t i = 0; i < count; ++i) {
    const float* p = distributions.data<float>() + i * classes;
    const double u = static_cast<double>(Rng({seed, kLabels, split}, static_cast<uint64_t>(first + i)).uniform());
    // The first class whose cumulated probability exceeds u; where rounding leaves the sum below u, the last possible
    // one.
    double sum = 0.0;
    int64_t drawn = 0;
    for (int64_t k = 0; k < classes && sum <= u; ++k) {
      sum += static_cast<double>(p[k]);
      if (p[k] > 0.0f) drawn = k;
    }
    labels.data<int64_t>()[i] = drawn;
  }
  return labels;
}

}  // namespace sked
