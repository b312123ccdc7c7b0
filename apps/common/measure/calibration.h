#pragma once
// Calibration after training (layers/heads/METHOD.md, "Measures"): one temperature, and a shift of every class's logit,
// by maximum likelihood on images that were held out, in double.

#include <cstdint>
#include <vector>

#include "core/tensor.h"

namespace sked {

/// Temperature scaling (Guo, Pleiss, Sun, Weinberger, ICML 2017, arXiv 1706.04599), and with b_k the bias-corrected
/// form (Alexandari, Kundaje, Shrikumar, ICML 2020, arXiv 1901.06852), which is other class priors. Softmax link:
///   p_T(k|x) = p(k|x)^(1/T) exp(b_k) / Σ_j p(j|x)^(1/T) exp(b_j),
/// for DET just softmax(u/T + b). Sigmoid link: of each class σ(logit(p_k)/T + b_k).
struct Calibration {
  double temperature = 1;          // T
  std::vector<double> shift = {};  // b (K); none: 0
  bool sigmoid = false;
};

/// T is sought in this range: where every held-out image is right, no T is the best, and where the predictions are
/// worse than none, T grows without bound.
inline constexpr double kLeastTemperature = 0.01, kMostTemperature = 100;

/// p_T of probabilities f32 (B,K) on the CPU, f32 (B,K). Those of 0 count as MetricsAccumulator has them: 2^-149, and
/// 1 − p of the sigmoid link as at least 2^-25. Throws Error for a shift of other classes.
Tensor calibrated(const Tensor& probabilities, const Calibration& calibration);

/// What is fitted to: predictions and what is true. In memory are its N × K logits, in f32, and its N × K targets where
/// images have several labels, or soft ones.
class CalibrationSet {
 public:
  CalibrationSet(int64_t classes, bool sigmoid);
  /// As MetricsAccumulator::add(): probabilities f32 (B,K), labels i64 (B), targets f32 (B,K) or undefined, for all
  /// batches or for none. Throws Error for other shapes, or a label outside 0 … K−1.
  void add(const Tensor& probabilities, const Tensor& labels, const Tensor& targets = {});

  int64_t size() const { return count_; }
  int64_t classes() const { return classes_; }
  bool sigmoid() const { return sigmoid_; }
  /// log p, less the row's greatest (softmax link), or logit(p), f32: row i of (N,K).
  const float* logits(int64_t i) const { return logits_.data() + i * classes_; }
  /// Target of class k for example i.
  double target(int64_t i, int64_t k) const {
    return targets_.empty() ? labels_[static_cast<size_t>(i)] == k : targets_[static_cast<size_t>(i * classes_ + k)];
  }

 private:
  int64_t classes_, count_ = 0;
  bool sigmoid_;
  std::vector<float> logits_, targets_;
  std::vector<int64_t> labels_;
};

struct CalibrationFit {
  Calibration calibration;
  double nll = 0;          // mean, as Measures has it, of the calibrated probabilities on the set
  bool unbounded = false;  // no T is the best: it is at an end of its range, or its NLL is 0
};

/// The most likely T, and with `shift` T and b together. The negative log-likelihood, summed over the examples, is
/// convex in (1/T, b); with b it has a ridge, ½ Σ_k b_k²: a normal prior of standard deviation 1. It makes Σ_k b_k = 0
/// (softmax link), moves b_k by about b_k/n_k where class k has n_k examples, and keeps the shift of a class without
/// any example finite: about −m, where m ≪ 1 of them were expected. Newton's method; its linear systems by conjugate
/// gradients, so that nothing is K × K. The same numbers whatever the number of threads. Throws Error for a set
/// without examples.
CalibrationFit fit_calibration(const CalibrationSet& set, bool shift);

}  // namespace sked
