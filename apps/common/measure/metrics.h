#pragma once
// Measures of predicted probabilities (layers/heads/METHOD.md, "Measures"), gathered batch by batch in double.

#include <array>
#include <cstdint>
#include <limits>
#include <vector>

#include "apps/common/measure/selective.h"
#include "core/tensor.h"

namespace sked {

/// One bin of a reliability diagram: how many predictions had a top-1 confidence in it, their mean confidence, and the
/// share of them that was right (0 in an empty bin).
struct ReliabilityBin {
  int64_t count = 0;
  double confidence = 0, accuracy = 0;
};

inline constexpr int kReliabilityBins = 15;

/// What was not measured, as in results of earlier versions, or is not defined.
inline constexpr double kNotMeasured = std::numeric_limits<double>::quiet_NaN();

/// Against the true label of each example, or its targets t (several labels, or soft ones): then its true classes are
/// those of the greatest target, and t replaces the one-hot vector below.
struct Measures {
  int64_t count = 0;
  double nll = 0;  // softmax link: mean −log p_y (targets: −Σ_k t_k log p_k); sigmoid link: mean −Σ_k [t_k log p_k +
                   // (1−t_k) log(1−p_k)], t one-hot
  double accuracy = 0;  // share with a true class first; among equal probabilities as Ties says
  double top5 = 0;      // share with a true class among the first five
  double ece = 0;       // Σ_bins count/N · |accuracy − confidence| over 15 equal bins of top-1 confidence, (lo, hi]
  double adaptive_ece = kNotMeasured;                   // the same over 15 bins of equally many predictions
  double brier = 0;                                     // mean Σ_k (p_k − t_k)²
  Selective selective;                                  // by the top-1 confidence
  std::array<ReliabilityBin, kReliabilityBins> bins{};  // of that confidence: bin i is (i/15, (i+1)/15]
};

/// Of the images of one class; what there is no image for, or no prediction, is not defined.
struct ClassMeasures {
  int64_t count = 0, predicted = 0;  // images of the class, and images that are said to be of it
  double recall = kNotMeasured;      // share of its images with the class first: its accuracy
  double precision = kNotMeasured;   // share of those said to be of it that are
  double confidence = kNotMeasured;  // mean top-1 confidence of its images
  double nll = kNotMeasured;         // mean of its images, as above
};

/// Against a distribution q over the classes per example: human votes, or the known distribution of the label noise.
struct DistributionMeasures {
  int64_t count = 0;
  double cross_entropy = 0;                   // mean −Σ_k q_k log p_k (sigmoid link: as nll, with t = q)
  double entropy = 0;                         // mean −Σ_k q_k log q_k: what a perfect softmax prediction would reach
  double entropy_correlation = kNotMeasured;  // Spearman's, over the examples, of the entropy of p with that of q
  double noise_correlation = kNotMeasured;    // likewise of the noise that the head predicts with the entropy of q
};

/// Which of equally probable classes comes first: the lowest, as argmax has it everywhere (so that others get the very
/// same accuracy from the same probabilities), or each as often as the others. Where ties are the rule and neighbors
/// belong together, the first would make a good score of no answer.
enum class Ties { lowest_first, shared };

/// The chance that one of `own` of `tied` equals in random order is among the first n, behind `before` others: with
/// r = n − before places left for them, 1 − C(tied − own, r) / C(tied, r). 1 ≤ own ≤ tied.
double chance_among_first(int64_t n, int64_t before, int64_t tied, int64_t own);

/// −Σ_k p_k log p_k in nats, p of K probabilities; `sigmoid`: the sum over K yes-or-no questions of theirs.
double entropy(const float* p, int64_t classes, bool sigmoid = false);
double entropy(const double* p, int64_t classes, bool sigmoid = false);

/// Gathers both. Probabilities of 0: a prediction is f32, so its true value may be positive and have underflowed; it
/// counts as the smallest positive float, 2^-149 (its NLL is 103.3), and 1 − p of the sigmoid link as at least 2^-25,
/// half the gap below 1. So every measure is finite, and nothing that f32 can tell apart is clipped.
class MetricsAccumulator {
 public:
  /// `sigmoid`: probabilities are of K yes-or-no questions instead of a distribution over K classes.
  explicit MetricsAccumulator(int64_t classes, bool sigmoid = false, Ties ties = Ties::lowest_first);

  /// probabilities f32 (B,K), labels i64 (B), targets f32 (B,K) or undefined. Throws Error for other shapes, a label
  /// outside 0 … K−1, or a probability that is not in [0, 1] (within 1e-3: sums of f32 round).
  void add(const Tensor& probabilities, const Tensor& labels, const Tensor& targets = {});
  /// probabilities f32 (B,K), distributions f32 (B,K), noise f32 (B) as Head::noise_scale() predicts it, or undefined,
  /// for all batches or for none. Throws Error likewise.
  void add_distributions(const Tensor& probabilities, const Tensor& distributions, const Tensor& noise = {});

  /// Throws Error where nothing was added: there is no measure of nothing.
  Measures measures() const;
  /// Of the K classes; none where an example had targets, which are of no one class.
  std::vector<ClassMeasures> class_measures() const;
  /// All 0 where nothing was added.
  DistributionMeasures distribution_measures() const;

 private:
  struct BinSum {
    int64_t count = 0;
    double confidence = 0, right = 0;
  };

  void check_probabilities(const Tensor& probabilities) const;
  struct ClassSum {
    int64_t count = 0, predicted = 0, agreed = 0;
    double right = 0, confidence = 0, nll = 0;
  };

  /// `label`: -1 where t is of no one class.
  void add_example(const float* p, const std::vector<float>& t, int64_t label);

  int64_t classes_;
  bool sigmoid_;
  Ties ties_;
  int64_t count_ = 0;
  double first_ = 0, first_five_ = 0, nll_ = 0, brier_ = 0;
  std::array<BinSum, kReliabilityBins> bins_{};
  std::vector<Graded> graded_;  // top-1 of every example
  std::vector<ClassSum> class_sums_;
  bool of_classes_ = true;
  int64_t distribution_count_ = 0;
  double cross_entropy_ = 0, entropy_ = 0;
  std::vector<double> entropies_, true_entropies_, noise_;  // of every example with a distribution
};

}  // namespace sked
