#pragma once
// The Monte Carlo likelihood over sampled logits that never exist all at once ("Likelihood" and "The streaming form" of
// layers/heads/README.md; HET-XL, arXiv 2301.12860, eq. 3). B examples, S samples, K classes, J noisy coordinates, R
// rank.

#include "autograd/var.h"
#include "core/rng.h"

namespace sked {

/// Where the noise of a batch is drawn: everything below is a pure function of these numbers.
struct NoiseSource {
  Tensor examples;               // (B) i64: the global index of each example
  RngAddress factors, diagonal;  // of ε^R and of ε^J
  bool antithetic = false;       // samples 2i and 2i + 1 are ε and −ε (core/kernels/random.h)
};

/// The logits over temperature a_s (B,K) of samples s = 0 … S − 1, by what they are linear in (so that a temperature is
/// divided out beforehand, once a batch):
///   z_s = center + V ε^R_s + d ⊙ ε^J_s  (B,J)
///   HET     a_s = z_s                   J = K; weight and bias undefined
///   HET-XL  a_s = z_s weightᵀ + bias    or, with `normalize`, (z_s / |z_s|) weightᵀ + bias
struct SampledLogits {
  Var center, d;     // (B,J); d undefined: no noise, and one sample
  Var v;             // (B,J): V = (v 1ᵀ) ⊙ factors, the efficient form; else undefined
  Var factors;       // (J,R) beside v, (B,J,R) without; undefined: V = 0
  Var weight, bias;  // (K,J), (K); bias may be undefined
  NoiseSource noise;
  int64_t samples = 1;     // S
  bool normalize = false;  // each z_s is brought to length 1 (l2_normalize), the temperature staying with weight
};

/// How many samples of each example and how many classes a tile holds; 0: as many as the caches take. Sizes change
/// neither the noise nor, but for rounding, the result. Classes are made a multiple of 4 and antithetic samples one of
/// 2, as addressed noise wants it.
struct TileSize {
  int64_t samples = 0, classes = 0;
};

/// The streaming losses and predictions keep O(B S) numbers (and O(B K) where said) beside their inputs' values, and
/// work in tiles of a few MiB. The backward pass draws the noise and computes each tile again: 2 B S J K operations
/// forward, 6 B S J K backward for HET-XL. Gradients go to every defined Var of SampledLogits. f32, f64. Errors: shapes
/// that do not fit, labels outside 0 … K − 1 (naming the row).

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
/// other in each of S samples, image i being where its sample s is ("Contrastive image–text training" of METHOD.md):
///   L^r_i = −logmeanexp_s log_softmax_j(a_sij)_i   streaming_nll with every image's own text as its label
///   L^c_j = −logmeanexp_s log_softmax_i(a_sij)_j   the same down the columns
///   ∂L/∂a_sij = w^r_is (softmax_j(a_sij) − [i = j]) + w^c_js (softmax_i(a_sij) − [i = j]), halved
/// A tile holds all images for some of the texts. Saves log-sum-exps and w of both directions, four times (B,S).
Var streaming_contrastive(const SampledLogits& a, TileSize tile = {});

/// p (B,K) = (1/S) Σ_s softmax(a_s), or σ(a_s). No tape.
Tensor streaming_softmax(const SampledLogits& a, TileSize tile = {});
Tensor streaming_sigmoid(const SampledLogits& a, TileSize tile = {});

/// 0 … n − 1 (n) i64: in a batch of pairs, each image's own text.
Tensor row_numbers(int64_t n, Device device);

}  // namespace sked
