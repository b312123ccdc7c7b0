#pragma once
// The composed form (METHOD.md, "The composed form"): what SampledLogits describe, their likelihood and their
// predictions by ordinary ops. It is the readable definition, and what the streaming form is tested against.
// B examples, C of S samples, K classes, J noisy coordinates, R rank.

#include "layers/heads/sampled_logits.h"
#include "layers/heads/targets.h"

namespace sked {

/// ε_s (B,C,J) = V ε^R_s + d ⊙ ε^J_s for the C = `count` samples s = first … first + count − 1. A pure function of its
/// arguments; with antithetic pairs `first` is even.
Var composed_noise(const NoiseScales& scales, const NoiseSource& source, int64_t first, int64_t count);

/// a_s (B,C,K) of those samples.
Var composed_logits(const SampledLogits& a, int64_t first, int64_t count);

/// The logarithms that are averaged over samples (METHOD.md, "Likelihood"), of a_s (B,C,K):
///   softmax, labels         log softmax(a_s)_y         (B,C)
///   softmax, distributions  log softmax(a_s)           (B,C,K)
///   sigmoid                 log σ(a_s), log σ(−a_s)    (B,C,2K)
Var log_probabilities(Link link, const Var& a, const Targets& targets);

/// The loss of each example (B) by their logmeanexp over samples, log p: −log p_y, −Σ_k q_k log p_k, or
/// −Σ_k [t_k log p_k + (1 − t_k) log(1 − p_k)].
Var negative_log_likelihood(Link link, const Var& log_p, const Targets& targets);

/// The mean over the batch of that loss. At most `chunk` samples (made even for antithetic pairs) are in memory at
/// once: where S is more, each chunk is made again in the backward pass, and what is kept is its logsumexp.
Var composed_loss(Link link, const SampledLogits& a, const Targets& targets, int64_t chunk);

/// p (B,K) = (1/S) Σ_s link(a_s): an average of probabilities, never of logits. No tape; memory as above.
Tensor composed_predict(Link link, const SampledLogits& a, int64_t chunk);

/// The loss (B) of B images and their B texts (METHOD.md, "Contrastive image–text training"): the mean of image i's
/// −log p among the texts and text i's among the images. weight (B,J) holds the texts. All samples at once: (B,S,B).
Var composed_contrastive(const SampledLogits& a);

}  // namespace sked
