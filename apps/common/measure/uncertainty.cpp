#include "apps/common/measure/uncertainty.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "apps/common/measure/metrics.h"
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

/// Calls `visit` with each of `samples` predictions f32 (B,K) of one Monte Carlo sample, on the CPU.
void for_each_sample(Head& head, const Tensor& phi, int64_t samples, const Context& context,
                     const std::function<void(int64_t s, const Tensor& p)>& visit) {
  require(samples >= 2, "predict", "expected at least 2 samples for a covariance, got ", samples);
  constexpr uint64_t kSamples = 0x70726564'00000000;  // "pred": apart from the seeds of runs
  for (int64_t s = 0; s < samples; ++s) {
    Context one = context;
    one.seed = context.seed ^ (kSamples + static_cast<uint64_t>(s));
    const Tensor p = head.predict(phi, 1, one).to(Device::cpu);
    for (int64_t i = 0; i < p.numel(); ++i)
      require(std::isfinite(p.data<float>()[i]), "predict", "image ", i / p.dim(1),
              " of the batch: expected finite probabilities, got ", p.data<float>()[i]);
    visit(s, p);
  }
}

}  // namespace

std::vector<EntropySplit> split_entropy(Head& head, const Tensor& phi, int64_t samples, bool sigmoid,
                                        const Context& context) {
  std::vector<EntropySplit> rows(static_cast<size_t>(phi.dim(0)));
  std::vector<double> sums;
  int64_t classes = 0;
  for_each_sample(head, phi, samples, context, [&](int64_t, const Tensor& p) {
    classes = p.dim(1);
    sums.resize(static_cast<size_t>(p.numel()), 0.0);
    for (int64_t i = 0; i < p.numel(); ++i) sums[static_cast<size_t>(i)] += p.data<float>()[i];
    for (size_t b = 0; b < rows.size(); ++b)
      rows[b].rest += entropy(p.data<float>() + static_cast<int64_t>(b) * classes, classes, sigmoid);
  });
  for (double& sum : sums) sum /= static_cast<double>(samples);
  for (size_t b = 0; b < rows.size(); ++b) {
    rows[b].rest /= static_cast<double>(samples);
    rows[b].total = entropy(sums.data() + static_cast<int64_t>(b) * classes, classes, sigmoid);
    rows[b].noise = rows[b].total - rows[b].rest;
  }
  return rows;
}

Tensor sampled_logits(Head& head, const Tensor& phi, int64_t samples, bool sigmoid, const Context& context) {
  Tensor all;
  for_each_sample(head, phi, samples, context, [&](int64_t s, const Tensor& p) {
    const int64_t images = p.dim(0), classes = p.dim(1);
    if (!all.defined()) all = Tensor::empty({samples, images, classes});
    for (int64_t b = 0; b < images; ++b) {
      const float* row = p.data<float>() + b * classes;
      float* out = all.data<float>() + (s * images + b) * classes;
      double mean = 0;
      for (int64_t k = 0; k < classes; ++k) mean += safe_log(row[k]) / static_cast<double>(classes);
      for (int64_t k = 0; k < classes; ++k) {
        out[k] = static_cast<float>(sigmoid ? safe_log(row[k]) -
                                                  std::log(std::max(1.0 - static_cast<double>(row[k]), 0x1p-25))
                                            : safe_log(row[k]) - mean);
      }
    }
  });
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
