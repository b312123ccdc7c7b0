#pragma once
// How uncertain a prediction is, and what a heteroscedastic head's samples say about it: how much each logit moves,
// and which move together.

#include <cstdint>
#include <vector>

#include "layers/heads/head.h"

namespace sked {

/// −Σ_k p_k log p_k in nats, p of K probabilities; `sigmoid`: the sum over K yes-or-no questions of theirs.
double entropy(const float* p, int64_t classes, bool sigmoid = false);

/// f32 (S,B,K): S samples of u/τ up to a constant per sample and image, which a softmax does not see: log p less its
/// mean over the classes (softmax link), or log p − log(1−p) (sigmoid link). Each sample is a prediction of the head
/// with one Monte Carlo sample, at an address of its own. Throws Error for a prediction that is not finite.
Tensor sampled_logits(Head& head, const Tensor& phi, int64_t samples, bool sigmoid, const Context& context);

struct Correlated {
  int64_t k = 0;
  double correlation = 0;  // of its logit with the given class's, −1 … 1
};

/// Standard deviation of class k's logit of image b over the samples.
double logit_deviation(const Tensor& logits, int64_t b, int64_t k);

/// The `count` classes whose logits are most correlated with class k's for image b, by magnitude. Empty where the
/// logits do not move (deterministic head).
std::vector<Correlated> most_correlated(const Tensor& logits, int64_t b, int64_t k, int64_t count);

}  // namespace sked
