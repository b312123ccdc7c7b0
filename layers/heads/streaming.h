#pragma once
// The streaming form (METHOD.md, "The streaming form"; [1], eq. 3): the Monte Carlo likelihood and predictions of
// SampledLogits that never exist all at once. What heads use unless told otherwise. B examples, S samples, K classes,
// J noisy coordinates.

#include "layers/heads/logit_tiles.h"
#include "layers/heads/sampled_logits.h"
#include "layers/heads/targets.h"

namespace sked {

/// The streaming losses and predictions keep O(B S) numbers (and O(B K) where said) beside their inputs' values, and
/// work in tiles of a few MiB. The backward pass draws the noise and computes each tile again: 2 B S J K operations
/// forward, 6 B S J K backward for HET-XL. Gradients go to every defined Var of SampledLogits. f32, f64. Errors: shapes
/// that do not fit, labels outside 0 … K − 1 (naming the row).
///
/// Where a.shard is divided these are collectives, called with all rows of the batch and this rank's classes, all other
/// targets than labels being those of its classes. The losses are those of all classes, the same on every rank, and
/// gradients what the rank's classes have in them, for the same dL on every rank; so over the ranks they sum to the
/// whole. What keeps lse puts those of all ranks together: twice (B,S) numbers, or three times with labels.

/// L (B) = −log p_y with log p_y = logmeanexp_s log_softmax(a_s)_y: labels (B) i64.
///   c_s = a_sy − lse_s, w_s = softmax over s of c_s:  ∂L/∂a_sk = w_s (softmax(a_s)_k − [k = y])
/// Saves lse and w (B,S).
Var streaming_nll(const SampledLogits& a, const Tensor& labels, TileSize tile = {});

/// L (B) = −Σ_k q_k log p_k with log p_k = logmeanexp_s log_softmax(a_s)_k: q (B,K).
///   w_sk = exp(log_softmax(a_s)_k − log Σ_s p_sk):  ∂L/∂a_sk = softmax(a_s)_k Σ_j q_j w_sj − q_k w_sk
/// Two passes over the products forward, two and the gradients' backward. Saves lse (B,S) and log p (B,K).
Var streaming_soft_nll(const SampledLogits& a, const Tensor& q, TileSize tile = {});

/// L (B) = −Σ_k [t_k log p_k + (1 − t_k) log(1 − p_k)], log p_k = logmeanexp_s log σ(a_sk), log(1 − p_k) likewise of
/// −a_sk: t (B,K) in [0,1]. Saves both logarithms (B,K).
Var streaming_sigmoid_nll(const SampledLogits& a, const Tensor& t, TileSize tile = {});

/// L (B) = (L^r_i + L^c_i) / 2 of B images (rows z_s) and their B texts (rows of weight: K = B), which classify each
/// other in each of S samples, image i being where its sample s is (METHOD.md, "Contrastive image–text training"):
///   L^r_i = −logmeanexp_s log_softmax_j(a_sij)_i   streaming_nll with every image's own text as its label
///   L^c_j = −logmeanexp_s log_softmax_i(a_sij)_j   the same down the columns
///   ∂L/∂a_sij = w^r_is (softmax_j(a_sij) − [i = j]) + w^c_js (softmax_i(a_sij) − [i = j]), halved
/// A tile holds all images for some of the texts; where a.shard is divided, for some of this rank's. Saves log-sum-exps
/// and w of both directions, four times (B,S).
Var streaming_contrastive(const SampledLogits& a, TileSize tile = {});

/// The mean over the batch of the first three, by link and targets. Divided, its gradient is of the sum of what all
/// ranks make of it (all_reduce_gradient): each may take its own weight of it.
Var streaming_loss(Link link, const SampledLogits& a, const Targets& targets, TileSize tile = {});

/// p (B,K) = (1/S) Σ_s link(a_s), where a.shard is divided of this rank's classes. No tape.
Tensor streaming_predict(Link link, const SampledLogits& a, TileSize tile = {});

}  // namespace sked
