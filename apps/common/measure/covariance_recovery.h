#pragma once
// How well a head has found the covariance of the logits that the labels were drawn from.

#include <cstdint>
#include <vector>

#include "apps/common/measure/batch_rows.h"
#include "apps/common/measure/metrics.h"
#include "data/dataset.h"
#include "layers/heads/head.h"

namespace sked {

/// So many images are compared, the first of the data set, and of more classes none: K² numbers an image.
constexpr int64_t kMostRecoveredImages = 2000, kMostRecoveredClasses = 300;

/// Between the learned covariance L(x) of u/τ and the true Σ(x), both up to what the labels can tell of them
/// (layers/heads/METHOD.md, "What the labels identify"): P L P and P Σ P with P = I − 11ᵀ/K, and a scale c common to
/// all images. Over the entries (i, j), i ≥ j, of all images at once.
struct CovarianceRecovery {
  int64_t count = 0;                           // images
  double correlation = kNotMeasured;           // Pearson's
  double scale = kNotMeasured;                 // c, with the least ‖c L − Σ‖
  double error = kNotMeasured;                 // ‖c L − Σ‖/‖Σ‖, Frobenius norms over all images
  double correlation_shuffled = kNotMeasured;  // likewise with the true covariance of another image in place of its
  double error_shuffled = kNotMeasured;        // own: what is right on average alone reaches
};

/// P S P (K,K) in double of a matrix S f32 (K,K).
std::vector<double> centered_over_classes(const float* s, int64_t classes);

/// Gathers it batch by batch, in double, each rank from its own images.
class CovarianceRecoveryAccumulator {
 public:
  /// Of images of `dataset`, where it has covariances and not too many classes: else it gathers nothing.
  explicit CovarianceRecoveryAccumulator(const Dataset& dataset);

  /// Representations φ of this rank's rows of the images `indices` i64 (B), of which it takes those that it compares.
  /// Throws Error for a covariance that is not finite.
  void add(Head& head, const Tensor& phi, const Tensor& indices, const BatchRows& rows);
  /// learned f32 (K,K) on the CPU of image `index`.
  void add(const Tensor& learned, int64_t index);
  /// count 0 where nothing was added. A collective, with the same result on every rank.
  CovarianceRecovery result(Communicator& ranks = alone()) const;

 private:
  /// Sums over the images: of matrices and their products, all entries, and of those with i ≥ j.
  struct Sums {
    double a = 0, b = 0, aa = 0, bb = 0, ab = 0;      // i ≥ j
    double whole_aa = 0, whole_bb = 0, whole_ab = 0;  // all
    void add(const std::vector<double>& learned, const std::vector<double>& known, int64_t classes);
    Sums over(Communicator& ranks) const;
  };

  const Dataset& dataset_;
  int64_t count_ = 0;
  std::vector<int64_t> other_;  // of each image that is compared, the one whose covariance stands in for its own
  Sums own_, shuffled_;
};

}  // namespace sked
