#pragma once
// Mahalanobis distances of representations φ to those of the training images.

#include <cstdint>
#include <vector>

#include "core/tensor.h"

namespace sked {

/// Gaussians of one covariance, one a class (Lee et al., arXiv 1807.03888), and one of all images (Ren et al., arXiv
/// 2106.09022), of N examples of width D:
///   Σ = 1/N Σ_k Σ_{i of class k} (φ_i − μ_k)(φ_i − μ_k)ᵀ    Σ_0 = 1/N Σ_i (φ_i − μ_0)(φ_i − μ_0)ᵀ
/// Gathered batch by batch in double, about the first batch's mean, and fitted once.
class Mahalanobis {
 public:
  Mahalanobis(int64_t classes, int64_t width);

  /// phi f32 (B,D), labels i64 (B). Throws Error for other shapes and for a label outside 0 … K−1.
  void add(const Tensor& phi, const Tensor& labels);
  /// To be called once, after all of `add`. Where Σ or Σ_0 is singular (N too small for D, units that never vary) a
  /// millionth of Σ's mean variance is added to the diagonals of both. Throws Error where nothing varies within
  /// classes.
  void fit();

  /// N.
  int64_t count() const { return count_; }
  /// What fit() added to the diagonals: 0 where nothing was needed.
  double regularization() const { return regularization_; }

  struct Distances {
    double nearest;   // min_k (φ − μ_k)ᵀ Σ⁻¹ (φ − μ_k), over the classes with an example
    double relative;  // the same less (φ − μ_0)ᵀ Σ_0⁻¹ (φ − μ_0)
  };
  /// Of every row of phi f32 (B,D).
  std::vector<Distances> distances(const Tensor& phi) const;

 private:
  /// f64, less the shift.
  Tensor shifted(const Tensor& phi) const;

  int64_t width_, count_ = 0;
  std::vector<int64_t> counts_;             // (K)
  std::vector<double> shift_;               // (D)
  std::vector<std::vector<double>> means_;  // K of (D): sums, then means, then L⁻¹ μ_k
  std::vector<double> overall_;             // (D): likewise of all
  std::vector<double> within_, total_;      // (D,D): Σ and Σ_0, then their factors L
  double regularization_ = 0;
};

}  // namespace sked
