#include "apps/common/measure/uncertainty.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace sked {
namespace {

/// Below: rounding of f32 probabilities, not noise.
constexpr double kStill = 1e-4;

/// Mean and deviation over samples of one class, and its values less the mean.
std::vector<double> centered(const Tensor& logits, int64_t b, int64_t k, double& deviation) {
  const int64_t samples = logits.dim(0), images = logits.dim(1), classes = logits.dim(2);
  std::vector<double> values(static_cast<size_t>(samples));
  double mean = 0;
  for (int64_t s = 0; s < samples; ++s) {
    const float u = logits.data<float>()[(s * images + b) * classes + k];
    mean += values[static_cast<size_t>(s)] = static_cast<double>(u);
  }
  mean /= static_cast<double>(samples);
  double squares = 0;
  for (double& v : values) v -= mean, squares += v * v;
  deviation = std::sqrt(squares / static_cast<double>(samples));
  return values;
}

double safe_log(float p) { return std::log(std::max(static_cast<double>(p), 0x1p-149)); }

/// −p log p, 0 where p is.
double surprise(double p) { return p > 0 ? -p * std::log(p) : 0; }

}  // namespace

double entropy(const float* p, int64_t classes, bool sigmoid) {
  double sum = 0;
  for (int64_t k = 0; k < classes; ++k) {
    const double yes = p[k];
    sum += surprise(yes) + (sigmoid ? surprise(1 - yes) : 0);
  }
  return sum;
}

Tensor sampled_logits(Head& head, const Tensor& phi, int64_t samples, bool sigmoid, const Context& context) {
  require(samples >= 2, "predict", "expected at least 2 samples for a covariance, got ", samples);
  constexpr uint64_t kSamples = 0x70726564'00000000;  // "pred": apart from the seeds of runs
  Tensor all;
  for (int64_t s = 0; s < samples; ++s) {
    Context one = context;
    one.seed = context.seed ^ (kSamples + static_cast<uint64_t>(s));
    const Tensor p = head.predict(phi, 1, one).to(Device::cpu);
    const int64_t images = p.dim(0), classes = p.dim(1);
    if (!all.defined()) all = Tensor::empty({samples, images, classes});
    for (int64_t b = 0; b < images; ++b) {
      const float* row = p.data<float>() + b * classes;
      float* out = all.data<float>() + (s * images + b) * classes;
      double mean = 0;
      for (int64_t k = 0; k < classes; ++k)
        require(std::isfinite(row[k]), "predict", "image ", b, " of the batch: expected finite probabilities, got ",
                row[k]);
      for (int64_t k = 0; k < classes; ++k) mean += safe_log(row[k]) / static_cast<double>(classes);
      for (int64_t k = 0; k < classes; ++k) {
        out[k] = static_cast<float>(sigmoid ? safe_log(row[k]) -
                                                  std::log(std::max(1.0 - static_cast<double>(row[k]), 0x1p-25))
                                            : safe_log(row[k]) - mean);
      }
    }
  }
  return all;
}

double logit_deviation(const Tensor& logits, int64_t b, int64_t k) {
  double deviation = 0;
  centered(logits, b, k, deviation);
  return deviation;
}

std::vector<Correlated> most_correlated(const Tensor& logits, int64_t b, int64_t k, int64_t count) {
  double deviation = 0;
  const std::vector<double> own = centered(logits, b, k, deviation);
  std::vector<Correlated> all;
  if (deviation < kStill) return all;
  for (int64_t other = 0; other < logits.dim(2); ++other) {
    if (other == k) continue;
    double spread = 0, sum = 0;
    const std::vector<double> values = centered(logits, b, other, spread);
    if (spread < kStill) continue;
    for (size_t s = 0; s < values.size(); ++s) sum += own[s] * values[s];
    all.push_back({other, sum / (static_cast<double>(values.size()) * deviation * spread)});
  }
  const auto first = [](const Correlated& x, const Correlated& y) {
    const double a = std::abs(x.correlation), c = std::abs(y.correlation);
    return a != c ? a > c : x.k < y.k;
  };
  std::sort(all.begin(), all.end(), first);
  all.resize(std::min(all.size(), static_cast<size_t>(count)));
  return all;
}

}  // namespace sked
