#include "data/heteroscedastic_noise.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "core/error.h"
#include "core/math.h"
#include "core/rng.h"
#include "data/dataset.h"
#include "data/loader.h"

namespace sked {
namespace {

// Streams of the noise seed.
constexpr uint64_t kDirections = 0x6865746e'00000001;  // "hetn"
constexpr uint64_t kFactors = 0x6865746e'00000002;
constexpr uint64_t kCommon = 0x6865746e'00000003;
constexpr uint64_t kLabels = 0x6865746e'00000004;

constexpr int64_t kSearched = 2000, kDrawsEach = 64;  // examples that tell the rate, and draws for each of them
constexpr double kLargestScale = 1024;                // of a: the noise is then all there is
constexpr int64_t kBlock = 256;                       // draws at a time

/// a·b, in order.
template <class A, class B>
double dot(const A* a, const B* b, int64_t n) {
  double sum = 0.0;
  for (int64_t i = 0; i < n; ++i) sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  return sum;
}

bool are_images(const Tensor& examples) {
  const bool images = examples.defined() && examples.dtype() == DType::u8 && examples.ndim() == 4;
  const bool vectors = examples.defined() && examples.dtype() == DType::f32 && examples.ndim() == 2;
  require(images || vectors, "label_noise", "expected images (N, H, W, C) u8 or vectors f32, got ", examples);
  return images;
}

Tensor features_of(const Tensor& examples) { return are_images(examples) ? image_statistics(examples) : examples; }

}  // namespace

Tensor image_statistics(const Tensor& images) {
  require(images.defined() && images.dtype() == DType::u8 && images.ndim() == 4 && images.shape().product(1, 4) > 0,
          "image_statistics", "expected images (N, H, W, C) u8, got ", images);
  const int64_t count = images.dim(0), height = images.dim(1), width = images.dim(2), channels = images.dim(3);
  Tensor statistics = Tensor::empty({count, 4 * channels});
  const auto mean = [](int64_t sum, int64_t n) {
    return n > 0 ? static_cast<double>(sum) / static_cast<double>(n) : 0.0;
  };
#pragma omp parallel for
  for (int64_t i = 0; i < count; ++i) {
    const uint8_t* pixels = images.data<uint8_t>() + i * height * width * channels;
    for (int64_t c = 0; c < channels; ++c) {
      const auto at = [&](int64_t y, int64_t x) { return int64_t{pixels[(y * width + x) * channels + c]}; };
      int64_t sum = 0, squares = 0, across = 0, down = 0;  // exact
      for (int64_t y = 0; y < height; ++y) {
        for (int64_t x = 0; x < width; ++x) {
          sum += at(y, x);
          squares += at(y, x) * at(y, x);
          if (x > 0) across += std::abs(at(y, x) - at(y, x - 1));
          if (y > 0) down += std::abs(at(y, x) - at(y - 1, x));
        }
      }
      const double m = mean(sum, height * width);
      float* out = statistics.data<float>() + i * 4 * channels + c;
      out[0] = static_cast<float>(m);
      out[channels] = static_cast<float>(std::sqrt(std::max(0.0, mean(squares, height * width) - m * m)));
      out[2 * channels] = static_cast<float>(mean(across, height * (width - 1)));
      out[3 * channels] = static_cast<float>(mean(down, (height - 1) * width));
    }
  }
  return statistics;
}

HeteroscedasticNoise::HeteroscedasticNoise(const Tensor& examples, const Tensor& labels, int64_t classes, double rate,
                                           uint64_t seed)
    : classes_(classes), seed_(seed) {
  require_usage(classes >= 2 && classes <= kMostHeteroscedasticClasses, "load_splits",
                "data.noise heteroscedastic: expected 2 to ", kMostHeteroscedasticClasses, " classes, got ", classes);
  check_labels(labels, classes, "label_noise");
  const bool images = are_images(examples);
  require(examples.dim(0) == labels.dim(0) && labels.dim(0) > 0, "label_noise", "expected examples (", labels.dim(0),
          ", ...), at least one, got ", examples);
  const Tensor features = features_of(examples);
  find_directions(features, images);
  draw_common();
  const double a = find_scale(features, labels, rate);
  for (double& w : directions_) w *= a;
}

void HeteroscedasticNoise::find_directions(const Tensor& features, bool standardized) {
  const int64_t count = features.dim(0), width = features.dim(1);
  const float* f = features.data<float>();
  const auto n = static_cast<double>(count);
  const auto size = static_cast<size_t>(width);
  mean_.assign(size, 0.0);
  for (int64_t i = 0; i < count * width; ++i) mean_[static_cast<size_t>(i % width)] += static_cast<double>(f[i]) / n;
  std::vector<double> spread(size, standardized ? 0.0 : 1.0);
  for (int64_t i = 0; standardized && i < count * width; ++i) {
    const double x = static_cast<double>(f[i]) - mean_[static_cast<size_t>(i % width)];
    spread[static_cast<size_t>(i % width)] += x * x / n;
  }
  const auto over = [](double x, double deviation) { return deviation > 0.0 ? x / deviation : 0.0; };
  for (int64_t k = 0; k < classes_; ++k) {
    Rng rng({seed_, kDirections, 0}, static_cast<uint64_t>(k));
    std::vector<double> w(size);
    for (double& x : w) x = static_cast<double>(rng.normal());
    const double length = std::sqrt(dot(w.data(), w.data(), width));
    for (size_t j = 0; j < size; ++j) w[j] = over(w[j] / length, std::sqrt(spread[j]));
    directions_.insert(directions_.end(), w.begin(), w.end());
  }
  std::vector<double> squares(static_cast<size_t>(classes_), 0.0);
  for (int64_t i = 0; i < count; ++i) {
    const std::vector<double> z = projected(f + i * width);
    for (size_t k = 0; k < z.size(); ++k) squares[k] += z[k] * z[k] / n;
  }
  for (size_t i = 0; i < directions_.size(); ++i) directions_[i] = over(directions_[i], std::sqrt(squares[i / size]));
}

std::vector<double> HeteroscedasticNoise::projected(const float* f) const {
  std::vector<double> centered(mean_.size());
  for (size_t j = 0; j < mean_.size(); ++j) centered[j] = static_cast<double>(f[j]) - mean_[j];
  std::vector<double> z(static_cast<size_t>(classes_));
  const auto width = static_cast<int64_t>(mean_.size());
  for (size_t k = 0; k < z.size(); ++k) z[k] = dot(directions_.data() + k * mean_.size(), centered.data(), width);
  return z;
}

void HeteroscedasticNoise::draw_common() {
  const auto classes = static_cast<size_t>(classes_);
  for (size_t k = 0; k < classes; ++k) {
    Rng rng({seed_, kFactors, 0}, k);
    for (int64_t r = 0; r < kLogitFactors; ++r)
      factors_.push_back(rng.normal() / std::sqrt(static_cast<float>(kLogitFactors)));
  }
  correlated_.resize(classes * kLogitDraws);
  independent_.resize(classes * kLogitDraws);
  for (size_t s = 0; s < kLogitDraws; ++s) {
    Rng rng({seed_, kCommon, 0}, s);
    std::array<float, kLogitFactors> e{};
    for (float& x : e) x = rng.normal();
    for (size_t k = 0; k < classes; ++k) {
      correlated_[k * kLogitDraws + s] =
          static_cast<float>(dot(factors_.data() + k * kLogitFactors, e.data(), kLogitFactors));
      independent_[k * kLogitDraws + s] = static_cast<float>(kLogitDeviation) * rng.normal();
    }
  }
}

double HeteroscedasticNoise::find_scale(const Tensor& features, const Tensor& labels, double rate) const {
  std::vector<int64_t> some = shuffled_order(features.dim(0), 0, 0);
  some.resize(std::min(some.size(), static_cast<size_t>(kSearched)));
  const auto unit = static_cast<size_t>(classes_);
  std::vector<double> z;
  for (const int64_t i : some) {
    const std::vector<double> own = projected(features.data<float>() + i * features.dim(1));
    z.insert(z.end(), own.begin(), own.end());
  }
  std::vector<double> changed(some.size());
  const auto rate_at = [&](double a) {
#pragma omp parallel for
    for (size_t i = 0; i < some.size(); ++i) {
      std::vector<float> v(unit);
      for (size_t k = 0; k < unit; ++k) v[k] = static_cast<float>(a * z[i * unit + k]);
      const int64_t label = labels.data<int64_t>()[some[i]];
      const int64_t begin = static_cast<int64_t>(i) * kDrawsEach % kLogitDraws;
      std::vector<double> sums(unit, 0.0);
      add_softmax(v.data(), label, begin, begin + kDrawsEach, sums);
      changed[i] = 1.0 - sums[static_cast<size_t>(label)] / static_cast<double>(kDrawsEach);
    }
    double sum = 0.0;
    for (const double c : changed) sum += c;
    return sum / static_cast<double>(changed.size());
  };
  const double least = rate_at(0), most = rate_at(kLargestScale);
  require_usage(rate >= least && rate <= most, "load_splits", "data.noise_rate: expected ", least, " to ", most,
                " for heteroscedastic noise on these ", classes_, " classes, got ", rate);
  double low = 0, high = 1;
  while (high < kLargestScale && rate_at(high) < rate) low = high, high *= 2;
  for (int halving = 0; halving < 20; ++halving) (rate_at((low + high) / 2) < rate ? low : high) = (low + high) / 2;
  return high;
}

void HeteroscedasticNoise::add_softmax(const float* v, int64_t label, int64_t begin, int64_t end,
                                       std::vector<double>& sums) const {
  const int64_t draws = end - begin;
  std::array<float, kBlock> highest, total;
  std::vector<float> u(static_cast<size_t>(classes_ * draws));
  highest.fill(-HUGE_VALF);
  for (int64_t k = 0; k < classes_; ++k) {
    const float margin = k == label ? static_cast<float>(kLogitMargin) : 0.0f, scale = v[k];
    const float *correlated = correlated_.data() + k * kLogitDraws + begin,
                *independent = independent_.data() + k * kLogitDraws + begin;
    float* row = u.data() + k * draws;
    for (int64_t s = 0; s < draws; ++s) {
      row[s] = scale * correlated[s] + independent[s] + margin;
      highest[static_cast<size_t>(s)] = std::max(highest[static_cast<size_t>(s)], row[s]);
    }
  }
  total.fill(0.0f);
  for (int64_t k = 0; k < classes_; ++k) {
    float* row = u.data() + k * draws;
    for (int64_t s = 0; s < draws; ++s) {
      row[s] = math::exp(row[s] - highest[static_cast<size_t>(s)]);
      total[static_cast<size_t>(s)] += row[s];
    }
  }
  for (int64_t k = 0; k < classes_; ++k) {
    const float* row = u.data() + k * draws;
    float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
    for (int64_t s = 0; s < draws; ++s) sum += row[s] / total[static_cast<size_t>(s)];
    sums[static_cast<size_t>(k)] += static_cast<double>(sum);
  }
}

std::vector<double> HeteroscedasticNoise::distribution(const float* v, int64_t label) const {
  std::vector<double> p(static_cast<size_t>(classes_), 0.0);
  for (int64_t begin = 0; begin < kLogitDraws; begin += kBlock) add_softmax(v, label, begin, begin + kBlock, p);
  double sum = 0.0;
  for (const double share : p) sum += share;
  for (double& share : p) share /= sum;
  return p;
}

Tensor HeteroscedasticNoise::scales(const Tensor& examples) const {
  const Tensor features = features_of(examples);
  const auto width = static_cast<int64_t>(mean_.size());
  require(features.dim(1) == width, "label_noise", "expected features (N, ", width, "), got ", features);
  Tensor v = Tensor::empty({features.dim(0), classes_});
#pragma omp parallel for
  for (int64_t i = 0; i < features.dim(0); ++i) {
    const std::vector<double> row = projected(features.data<float>() + i * width);
    std::transform(row.begin(), row.end(), v.data<float>() + i * classes_,
                   [](double x) { return static_cast<float>(x); });
  }
  return v;
}

Tensor HeteroscedasticNoise::draw_labels(const Tensor& v, const Tensor& labels, uint64_t split) const {
  check_labels(labels, classes_, "label_noise");
  require_shape(v, {labels.dim(0), classes_}, "label_noise", "v");
  Tensor drawn = Tensor::empty({labels.dim(0)}, DType::i64);
#pragma omp parallel for
  for (int64_t i = 0; i < labels.dim(0); ++i) {
    Rng rng({seed_, kLabels, split}, static_cast<uint64_t>(i));
    std::array<float, kLogitFactors> e{};
    for (float& x : e) x = rng.normal();
    std::vector<double> cumulated(static_cast<size_t>(classes_));
    const int64_t y = labels.data<int64_t>()[i];
    double sum = 0.0;
    for (int64_t k = 0; k < classes_; ++k) {
      const double together = dot(factors_.data() + k * kLogitFactors, e.data(), kLogitFactors);
      const double u = static_cast<double>(v.data<float>()[i * classes_ + k]) * together +
                       kLogitDeviation * static_cast<double>(rng.normal()) + (k == y ? kLogitMargin : 0.0);
      cumulated[static_cast<size_t>(k)] = u;
    }
    const double highest = *std::ranges::max_element(cumulated);
    for (double& c : cumulated) c = sum += std::exp(c - highest);
    // The first class whose cumulated weight exceeds a share of all: there is one, since uniform() < 1.
    const double share = sum * static_cast<double>(rng.uniform());
    drawn.data<int64_t>()[i] = std::ranges::upper_bound(cumulated, share) - cumulated.begin();
  }
  return drawn;
}

Tensor HeteroscedasticNoise::distributions(const Tensor& v, const Tensor& labels) const {
  check_labels(labels, classes_, "label_noise");
  require_shape(v, {labels.dim(0), classes_}, "label_noise", "v");
  Tensor all = Tensor::empty({labels.dim(0), classes_});
#pragma omp parallel for
  for (int64_t i = 0; i < labels.dim(0); ++i) {
    const std::vector<double> p = distribution(v.data<float>() + i * classes_, labels.data<int64_t>()[i]);
    std::transform(p.begin(), p.end(), all.data<float>() + i * classes_,
                   [](double x) { return static_cast<float>(x); });
  }
  return all;
}

Tensor HeteroscedasticNoise::covariance(const Tensor& v) const {
  require_shape(v, {classes_}, "label_noise", "v");
  Tensor sigma = Tensor::empty({classes_, classes_});
  for (int64_t i = 0; i < classes_; ++i) {
    for (int64_t j = 0; j < classes_; ++j) {
      const double together =
          dot(factors_.data() + i * kLogitFactors, factors_.data() + j * kLogitFactors, kLogitFactors);
      const double scales = static_cast<double>(v.data<float>()[i]) * static_cast<double>(v.data<float>()[j]);
      sigma.data<float>()[i * classes_ + j] =
          static_cast<float>(scales * together + (i == j ? kLogitDeviation * kLogitDeviation : 0.0));
    }
  }
  return sigma;
}

}  // namespace sked
