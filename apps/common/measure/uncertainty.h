#pragma once
// How uncertain a prediction is, and what a heteroscedastic head's samples say about it: how much each logit moves,
// and which move together.

#include <cstdint>
#include <vector>

#include "layers/heads/head.h"

namespace sked {

/// The entropy of a prediction, and what the noise has to do with it: H[p̄] = (H[p̄] − E_s H[p_s]) + E_s H[p_s] with p̄
/// = E_s p_s. The first part is the mutual information between class and noise, which would vanish if the noise were
/// known (Depeweg et al., arXiv 1710.07283); in nats, over the K questions of the sigmoid link together.
struct EntropySplit {
  double total = 0, noise = 0, rest = 0;
};

/// Of every row of phi (B,D) from `samples` predictions with one Monte Carlo sample each, at the addresses of
/// sampled_logits(). Throws Error for a prediction that is not finite, and for fewer than 2 samples.
std::vector<EntropySplit> split_entropy(Head& head, const Tensor& phi, int64_t samples, bool sigmoid,
                                        const Context& context);

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
