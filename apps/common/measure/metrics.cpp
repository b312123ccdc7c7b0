#include "apps/common/measure/metrics.h"

#include <algorithm>
#include <cmath>

#include "apps/common/measure/rank_correlation.h"
#include "core/error.h"

namespace sked {
namespace {

constexpr double kSmallestFloat = 0x1p-149, kHalfGapBelowOne = 0x1p-25;

/// NaN where p is: std::max gives its second argument only where that is greater.
double safe_log(double p, double least) { return std::log(std::max(p, least)); }

/// −[t log p + (1−t) log(1−p)].
double binary_cross_entropy(double t, float p) {
  const double log_not = safe_log(1.0 - static_cast<double>(p), kHalfGapBelowOne);
  return -(t > 0 ? t * safe_log(p, kSmallestFloat) : 0) - (t < 1 ? (1 - t) * log_not : 0);
}

/// −p log p, 0 where p is.
double surprise(double p) { return p > 0 ? -p * std::log(p) : 0; }

template <class T>
double entropy_of(const T* p, int64_t classes, bool sigmoid) {
  double sum = 0;
  for (int64_t k = 0; k < classes; ++k) {
    const double yes = p[k];
    sum += surprise(yes) + (sigmoid ? surprise(1 - yes) : 0);
  }
  return sum;
}

double mean_of(double sum, int64_t count) { return count > 0 ? sum / static_cast<double>(count) : 0; }

/// Bin i holds confidences in (i/15, (i+1)/15]; 0 goes to the first.
size_t bin_of(double confidence) {
  const auto bin = static_cast<int>(std::ceil(confidence * kReliabilityBins)) - 1;
  return static_cast<size_t>(std::clamp(bin, 0, kReliabilityBins - 1));
}

/// Where the true classes stand, those of the greatest target: how many classes are before the most probable of them,
/// how many equal it, and how many of these are true.
struct Standing {
  int64_t before = 0, tied = 0, own = 0;

  Standing(const float* p, const std::vector<float>& t, Ties ties) {
    const auto classes = static_cast<int64_t>(t.size());
    const float greatest = *std::max_element(t.begin(), t.end());
    const auto is_true = [&](int64_t k) { return t[static_cast<size_t>(k)] == greatest; };
    int64_t best = -1;
    for (int64_t k = 0; k < classes; ++k)
      if (is_true(k) && (best < 0 || p[k] > p[best])) best = k;
    for (int64_t k = 0; k < classes; ++k) {
      before += p[k] > p[best] || (ties == Ties::lowest_first && p[k] == p[best] && k < best);
      tied += p[k] == p[best];
      own += p[k] == p[best] && is_true(k);
    }
    if (ties == Ties::lowest_first) tied = own = 1;
  }
};

}  // namespace

double chance_among_first(int64_t n, int64_t before, int64_t tied, int64_t own) {
  double miss = 1;
  for (int64_t j = 0; j < n - before && miss > 0; ++j) {
    const int64_t others = std::max<int64_t>(0, tied - own - j);
    miss *= static_cast<double>(others) / static_cast<double>(tied - j);
  }
  return 1 - miss;
}

double entropy(const float* p, int64_t classes, bool sigmoid) { return entropy_of(p, classes, sigmoid); }
double entropy(const double* p, int64_t classes, bool sigmoid) { return entropy_of(p, classes, sigmoid); }

MetricsAccumulator::MetricsAccumulator(int64_t classes, bool sigmoid, Ties ties)
    : classes_(classes), sigmoid_(sigmoid), ties_(ties) {
  require(classes >= 1, "metrics", "expected at least one class, got ", classes);
  class_sums_.resize(static_cast<size_t>(classes));
}

void MetricsAccumulator::check_probabilities(const Tensor& probabilities) const {
  require(probabilities.defined() && probabilities.ndim() == 2 && probabilities.dim(1) == classes_, "metrics",
          "probabilities expected (B, ", classes_, "), got ", probabilities);
  constexpr float kSlack = 1e-3f;
  const float* p = probabilities.data<float>();
  for (int64_t i = 0; i < probabilities.numel(); ++i) {
    require(p[i] >= -kSlack && p[i] <= 1 + kSlack, "metrics", "expected a probability in [0, 1], got ", p[i],
            " for row ", i / classes_, ", class ", i % classes_);
  }
}

void MetricsAccumulator::add(const Tensor& probabilities, const Tensor& labels, const Tensor& targets) {
  check_probabilities(probabilities);
  require_shape(labels, {probabilities.dim(0)}, "metrics", "labels");
  if (targets.defined()) require_shape(targets, probabilities.shape(), "metrics", "targets");
  std::vector<float> t(static_cast<size_t>(classes_));
  for (int64_t i = 0; i < labels.numel(); ++i) {
    const int64_t y = labels.data<int64_t>()[i];
    require(y >= 0 && y < classes_, "metrics", "expected a label in 0 to ", classes_ - 1, ", got ", y);
    if (targets.defined()) {
      std::copy_n(targets.data<float>() + i * classes_, classes_, t.begin());
    } else {
      std::fill(t.begin(), t.end(), 0.0f);
      t[static_cast<size_t>(y)] = 1;
    }
    add_example(probabilities.data<float>() + i * classes_, t, targets.defined() ? -1 : y);
  }
  count_ += labels.numel();
}

void MetricsAccumulator::add_example(const float* p, const std::vector<float>& t, int64_t label) {
  double brier = 0, nll = 0;
  for (int64_t k = 0; k < classes_; ++k) {
    const double target = t[static_cast<size_t>(k)];
    brier += (p[k] - target) * (p[k] - target);
    if (sigmoid_) {
      nll += binary_cross_entropy(target, p[k]);
    } else if (target > 0) {
      nll -= target * safe_log(p[k], kSmallestFloat);
    }
  }
  nll_ += nll;
  brier_ += brier;
  const Standing s(p, t, ties_);
  const double right = chance_among_first(1, s.before, s.tied, s.own);
  first_ += right;
  first_five_ += chance_among_first(5, s.before, s.tied, s.own);
  const int64_t first = std::max_element(p, p + classes_) - p;
  const double confidence = p[first];
  BinSum& bin = bins_[bin_of(confidence)];
  ++bin.count;
  bin.confidence += confidence;
  bin.right += right;
  graded_.push_back({confidence, right});
  of_classes_ = of_classes_ && label >= 0;
  if (!of_classes_) return;
  ClassSum& said = class_sums_[static_cast<size_t>(first)];
  ++said.predicted;
  said.agreed += first == label;
  ClassSum& own = class_sums_[static_cast<size_t>(label)];
  ++own.count;
  own.right += right;
  own.confidence += confidence;
  own.nll += nll;
}

void MetricsAccumulator::add_distributions(const Tensor& probabilities, const Tensor& distributions,
                                           const Tensor& noise) {
  check_probabilities(probabilities);
  require_shape(distributions, probabilities.shape(), "metrics", "distributions");
  const float* p = probabilities.data<float>();
  const float* q = distributions.data<float>();
  for (int64_t i = 0; i < probabilities.numel(); ++i) {
    if (sigmoid_) cross_entropy_ += binary_cross_entropy(q[i], p[i]);
    if (!(q[i] > 0)) continue;  // 0 log p = 0
    if (!sigmoid_) cross_entropy_ -= q[i] * safe_log(p[i], kSmallestFloat);
    entropy_ -= q[i] * std::log(static_cast<double>(q[i]));
  }
  if (noise.defined()) require_shape(noise, {probabilities.dim(0)}, "metrics", "noise");
  for (int64_t i = 0; i < probabilities.dim(0); ++i) {
    // Sorted: equal votes for other classes are to have the very same entropy, and so the same rank.
    std::vector<float> sorted(q + i * classes_, q + (i + 1) * classes_);
    std::ranges::sort(sorted);
    true_entropies_.push_back(entropy(sorted.data(), classes_));
    entropies_.push_back(entropy(p + i * classes_, classes_, sigmoid_));
    if (noise.defined()) noise_.push_back(noise.data<float>()[i]);
  }
  distribution_count_ += probabilities.dim(0);
}

Measures MetricsAccumulator::measures() const {
  require(count_ > 0, "metrics", "expected predictions to measure, got none");
  Measures m;
  m.count = count_;
  m.nll = mean_of(nll_, count_);
  m.accuracy = mean_of(first_, count_);
  m.top5 = mean_of(first_five_, count_);
  m.brier = mean_of(brier_, count_);
  for (size_t i = 0; i < bins_.size(); ++i) {
    const BinSum& bin = bins_[i];
    m.bins[i] = {bin.count, mean_of(bin.confidence, bin.count), mean_of(bin.right, bin.count)};
    m.ece += mean_of(std::abs(bin.right - bin.confidence), count_);
  }
  m.adaptive_ece = equal_mass_calibration_error(graded_, kReliabilityBins);
  m.selective = selective(graded_);
  return m;
}

std::vector<ClassMeasures> MetricsAccumulator::class_measures() const {
  std::vector<ClassMeasures> classes;
  if (!of_classes_) return classes;
  for (const ClassSum& sum : class_sums_) {
    ClassMeasures& m = classes.emplace_back(ClassMeasures{.count = sum.count, .predicted = sum.predicted});
    if (sum.predicted > 0) m.precision = mean_of(static_cast<double>(sum.agreed), sum.predicted);
    if (sum.count == 0) continue;
    m.recall = mean_of(sum.right, sum.count);
    m.confidence = mean_of(sum.confidence, sum.count);
    m.nll = mean_of(sum.nll, sum.count);
  }
  return classes;
}

DistributionMeasures MetricsAccumulator::distribution_measures() const {
  DistributionMeasures m{.count = distribution_count_,
                         .cross_entropy = mean_of(cross_entropy_, distribution_count_),
                         .entropy = mean_of(entropy_, distribution_count_)};
  m.entropy_correlation = rank_correlation(entropies_, true_entropies_);
  if (!noise_.empty()) m.noise_correlation = rank_correlation(noise_, true_entropies_);
  return m;
}

}  // namespace sked
