#pragma once
// Classification by ridge regression on frozen representations, as big_vision's few-shot evaluator has it
// (layers/heads/METHOD.md, "Measures").

#include <cstdint>
#include <vector>

#include "core/tensor.h"

namespace sked {

/// Solves min_W ‖X W − Y‖² + λ‖W‖² in double: W = (XᵀX + λI)⁻¹ XᵀY by Cholesky. X f64 (N,D), Y f64 (N,K) → W f64 (D,K).
/// Throws Error for other shapes or dtypes, or λ so small that the matrix is not positive definite.
Tensor ridge(const Tensor& x, const Tensor& y, double lambda);

/// Accuracy on `test` of ridge regression onto ±1 targets from `train`, features standardized by the training mean and
/// deviation (of one that does not vary only the mean is taken off), with the target's mean as bias. phi f32 (N,D),
/// labels i64 (N) in 0 … classes-1. Throws Error for other labels, and where there are no images on a side.
double few_shot_accuracy(const Tensor& train_phi, const Tensor& train_labels, const Tensor& test_phi,
                         const Tensor& test_labels, int64_t classes, double lambda);

/// The λ of `candidates` with the best accuracy on held-out folds of the training examples, the larger of equals:
/// example j of every class is in fold j mod F, F = min(5, shots). One shot leaves nothing to hold out: then it is 1.
/// phi and labels as above, `shots` of every class.
double choose_lambda(const Tensor& phi, const Tensor& labels, int64_t classes, int64_t shots,
                     const std::vector<double>& candidates);

}  // namespace sked
