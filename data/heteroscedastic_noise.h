#pragma once
// Label noise by the method's own generative model: logits with a known covariance that depends on the input.

#include <cstdint>
#include <vector>

#include "core/tensor.h"

namespace sked {

/// m, R and d below.
inline constexpr double kLogitMargin = 6.0, kLogitDeviation = 0.5;
inline constexpr int64_t kLogitFactors = 3;
/// Draws that p(y | x) is the mean over.
inline constexpr int64_t kLogitDraws = 2048;
/// More classes than this are refused: every draw is kept for all of them.
inline constexpr int64_t kMostHeteroscedasticClasses = 1000;

/// For an example x with clean label y (layers/heads/METHOD.md, "Noise", with efficient factors and τ = 1):
///
///     u = m e_y + v(x) ⊙ (V ε^R) + d ε^K,   label ~ softmax(u),   ε^R, ε^K standard normal
///     v_k(x) = a w_k · (f(x) − f̄) / σ_k     V (K,R) ~ N(0, 1/R), w_k a random unit vector: drawn once
///
/// f̄ is the mean of f over the training examples and σ_k the deviation of w_k · f, so that v_k has mean 0 and
/// deviation a: the noise grows to both sides of 0, which no linear classifier can say. f(x) is a vector itself; of an
/// image image_statistics(), standardized over the training images: what a network with global average pooling can see.
class HeteroscedasticNoise {
 public:
  /// Of training examples u8 (N, H, W, C) or f32 (N, D) with labels i64 (N). Finds the a at which the mean over (at
  /// most 2,000 of) them of 1 − p(y | x) is `rate`. Throws UsageError for a rate that no a gives and for fewer than 2
  /// or more than 1,000 classes, Error for other shapes or dtypes, no example, or a label out of range.
  HeteroscedasticNoise(const Tensor& examples, const Tensor& labels, int64_t classes, double rate, uint64_t seed);

  /// v(x): examples like those above → f32 (N, K).
  Tensor scales(const Tensor& examples) const;
  /// One draw of ε and of a label for each row of v (N, K) and labels i64 (N), row i at the address (seed, split, i) →
  /// i64 (N).
  Tensor draw_labels(const Tensor& v, const Tensor& labels, uint64_t split) const;
  /// p(y | x) f32 (N, K): the mean softmax over kLogitDraws draws of ε, the same ones for every row. A probability p is
  /// off by at most sqrt(p (1 − p) / 2048) (a standard error).
  Tensor distributions(const Tensor& v, const Tensor& labels) const;
  /// Σ(x) = (v vᵀ) ⊙ (V Vᵀ) + d² I of one row v f32 (K) → f32 (K, K).
  Tensor covariance(const Tensor& v) const;

 private:
  /// f(x) − f̄ is `f` − mean_.
  std::vector<double> projected(const float* f) const;
  void find_directions(const Tensor& features, bool standardized);
  void draw_common();
  double find_scale(const Tensor& features, const Tensor& labels, double rate) const;
  /// Adds softmax(u) of the draws [begin, end) to sums (K).
  void add_softmax(const float* v, int64_t label, int64_t begin, int64_t end, std::vector<double>& sums) const;
  std::vector<double> distribution(const float* v, int64_t label) const;

  int64_t classes_;
  uint64_t seed_;
  std::vector<double> mean_;        // f̄ (F)
  std::vector<double> directions_;  // a w_k/σ_k, of standardized numbers over their deviations, too: (K, F)
  std::vector<float> factors_;      // V (K, R)
  std::vector<float> correlated_, independent_;  // of the draws of p(y | x): V ε^R and d ε^K, each (K, kLogitDraws)
};

/// Of every channel the mean of its pixels, their deviation, and the mean absolute differences of neighbors in a row
/// and in a column: u8 (N, H, W, C) → f32 (N, 4C), the four kinds one after the other.
Tensor image_statistics(const Tensor& images);

}  // namespace sked
