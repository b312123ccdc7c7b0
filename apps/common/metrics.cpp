#include "apps/common/metrics.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace sked {
namespace {

constexpr double kSmallestFloat = 0x1p-149, kHalfGapBelowOne = 0x1p-25;

double safe_log(float p) { return std::log(std::max(static_cast<double>(p), kSmallestFloat)); }

/// −[t log p + (1−t) log(1−p)].
double binary_cross_entropy(double t, float p) {
  const double log_not = std::log(std::max(1.0 - static_cast<double>(p), kHalfGapBelowOne));
  return -(t > 0 ? t * safe_log(p) : 0) - (t < 1 ? (1 - t) * log_not : 0);
}

double mean_of(double sum, int64_t count) { return count > 0 ? sum / static_cast<double>(count) : 0; }

/// Bin i holds confidences in (i/15, (i+1)/15]; 0 goes to the first.
size_t bin_of(double confidence) {
  const auto bin = static_cast<int>(std::ceil(confidence * kReliabilityBins)) - 1;
  return static_cast<size_t>(std::clamp(bin, 0, kReliabilityBins - 1));
}

/// Number of classes that come before class `y`: a higher probability, or the same and a lower index.
int64_t rank_of(const float* p, int64_t classes, int64_t y) {
  int64_t rank = 0;
  for (int64_t k = 0; k < classes; ++k) rank += p[k] > p[y] || (p[k] == p[y] && k < y);
  return rank;
}

}  // namespace

MetricsGatherer::MetricsGatherer(int64_t classes, bool sigmoid) : classes_(classes), sigmoid_(sigmoid) {
  require(classes >= 1, "metrics", "expected at least one class, got ", classes);
}

void MetricsGatherer::check_probabilities(const Tensor& probabilities) const {
  require(probabilities.defined() && probabilities.ndim() == 2 && probabilities.dim(1) == classes_, "metrics",
          "probabilities expected (B, ", classes_, "), got ", probabilities);
  constexpr float kSlack = 1e-3f;
  const float* p = probabilities.data<float>();
  for (int64_t i = 0; i < probabilities.numel(); ++i) {
    require(p[i] >= -kSlack && p[i] <= 1 + kSlack, "metrics", "expected a probability in [0, 1], got ", p[i],
            " for row ", i / classes_, ", class ", i % classes_);
  }
}

void MetricsGatherer::add(const Tensor& probabilities, const Tensor& labels, const Tensor& targets) {
  check_probabilities(probabilities);
  require_shape(labels, {probabilities.dim(0)}, "metrics", "labels");
  if (targets.defined()) require_shape(targets, probabilities.shape(), "metrics", "targets");
  std::vector<float> t(static_cast<size_t>(classes_));
  for (int64_t i = 0; i < labels.numel(); ++i) {
    const int64_t y = labels.data<int64_t>()[i];
    require(y >= 0 && y < classes_, "metrics", "expected a label in 0 … ", classes_ - 1, ", got ", y);
    if (targets.defined()) {
      std::copy_n(targets.data<float>() + i * classes_, classes_, t.begin());
    } else {
      std::fill(t.begin(), t.end(), 0.0f);
      t[static_cast<size_t>(y)] = 1;
    }
    add_example(probabilities.data<float>() + i * classes_, t);
  }
  count_ += labels.numel();
}

void MetricsGatherer::add_example(const float* p, const std::vector<float>& t) {
  const float greatest = *std::max_element(t.begin(), t.end());
  double brier = 0, nll = 0;
  int64_t rank = classes_;  // of the first true class
  for (int64_t k = 0; k < classes_; ++k) {
    const double target = t[static_cast<size_t>(k)];
    brier += (p[k] - target) * (p[k] - target);
    if (sigmoid_) {
      nll += binary_cross_entropy(target, p[k]);
    } else if (target > 0) {
      nll -= target * safe_log(p[k]);
    }
    if (t[static_cast<size_t>(k)] == greatest) rank = std::min(rank, rank_of(p, classes_, k));
  }
  nll_ += nll;
  brier_ += brier;
  first_ += rank == 0;
  first_five_ += rank < 5;
  const double confidence = *std::max_element(p, p + classes_);
  BinSum& bin = bins_[bin_of(confidence)];
  ++bin.count;
  bin.confidence += confidence;
  bin.right += rank == 0;
}

void MetricsGatherer::add_distributions(const Tensor& probabilities, const Tensor& distributions) {
  check_probabilities(probabilities);
  require_shape(distributions, probabilities.shape(), "metrics", "distributions");
  const float* p = probabilities.data<float>();
  const float* q = distributions.data<float>();
  for (int64_t i = 0; i < probabilities.numel(); ++i) {
    if (sigmoid_) cross_entropy_ += binary_cross_entropy(q[i], p[i]);
    if (!(q[i] > 0)) continue;  // 0 log p = 0
    if (!sigmoid_) cross_entropy_ -= q[i] * safe_log(p[i]);
    entropy_ -= q[i] * std::log(static_cast<double>(q[i]));
  }
  distribution_count_ += probabilities.dim(0);
}

Measures MetricsGatherer::measures() const {
  Measures m;
  m.count = count_;
  m.nll = mean_of(nll_, count_);
  m.accuracy = mean_of(static_cast<double>(first_), count_);
  m.top5 = mean_of(static_cast<double>(first_five_), count_);
  m.brier = mean_of(brier_, count_);
  for (size_t i = 0; i < bins_.size(); ++i) {
    const BinSum& bin = bins_[i];
    const auto right = static_cast<double>(bin.right);
    m.bins[i] = {bin.count, mean_of(bin.confidence, bin.count), mean_of(right, bin.count)};
    m.ece += mean_of(std::abs(right - bin.confidence), count_);
  }
  return m;
}

DistributionMeasures MetricsGatherer::distribution_measures() const {
  return {distribution_count_, mean_of(cross_entropy_, distribution_count_), mean_of(entropy_, distribution_count_)};
}

double auroc(const std::vector<double>& positives, const std::vector<double>& negatives) {
  require(!positives.empty() && !negatives.empty(), "auroc", "expected scores on both sides, got ", positives.size(),
          " and ", negatives.size());
  std::vector<std::pair<double, bool>> scores;  // score, is it a positive
  scores.reserve(positives.size() + negatives.size());
  for (double s : positives) scores.emplace_back(s, true);
  for (double s : negatives) scores.emplace_back(s, false);
  for (const auto& [score, positive] : scores) require(!std::isnan(score), "auroc", "a score is not a number");
  std::sort(scores.begin(), scores.end());
  double wins = 0, below = 0;  // below: negatives under the current score
  for (size_t begin = 0, end = 0; begin < scores.size(); begin = end) {
    double ties[2] = {0, 0};  // negatives and positives of this very score
    for (; end < scores.size() && scores[end].first == scores[begin].first; ++end) ++ties[scores[end].second];
    wins += ties[1] * (below + 0.5 * ties[0]);
    below += ties[0];
  }
  return wins / (static_cast<double>(positives.size()) * static_cast<double>(negatives.size()));
}

}  // namespace sked
