#pragma once
// Losses per example, (N); take mean() for the batch.

#include "autograd/var.h"

namespace sked {

/// −log softmax(x)[label]: x (N,K), labels (N) i64. Fused; saves x and each row's log-sum-exp.
Var cross_entropy(const Var& x, const Tensor& labels);
/// −Σ_k q_k log softmax(x)_k with a label distribution q (N,K).
Var soft_cross_entropy(const Var& x, const Tensor& q);
/// −Σ_k [t log σ(x) + (1−t) log σ(−x)] with targets t (N,K) in [0,1].
Var sigmoid_cross_entropy(const Var& x, const Tensor& targets);

}  // namespace sked
