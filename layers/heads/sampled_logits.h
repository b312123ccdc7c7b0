#pragma once
// The description of a batch's sampled logits, which heads build. It is read in two ways: composed.h, the definition,
// and streaming.h, over tiles of logits that never exist all at once. B examples, S samples, K classes, J noisy
// coordinates, R rank.

#include <string>
#include <vector>

#include "autograd/var.h"
#include "core/rng.h"
#include "layers/heads/class_shard.h"

namespace sked {

/// How the noise ε_s = V ε^R_s + d ⊙ ε^J_s of each example is scaled, by the form of V (METHOD.md, "Noise"):
///   full       V = factors (B,J,R)
///   efficient  V = (v 1ᵀ) ⊙ factors, factors (J,R)
///   diagonal   V = 0: v and factors are undefined
struct NoiseScales {
  Var d = {};        // (B,J); undefined: no noise at all
  Var v = {};        // (B,J) of efficient factors; else undefined
  Var factors = {};  // (J,R) beside v, (B,J,R) without
};

/// Where the noise of a batch is drawn, a pure function of these numbers (METHOD.md, "Addressed noise").
struct NoiseSource {
  Tensor examples = {};                    // (B) i64: the global index of each example
  RngAddress factors = {}, diagonal = {};  // of ε^R and of ε^J
  bool shared_diagonal = false;            // ε^J is one number, its first, for all coordinates
  bool antithetic = false;                 // samples 2i and 2i + 1 are ε and −ε (core/kernels/random.h)
};

/// The logits over temperature a_s (B,K) of samples s = 0 … S − 1, by what they are linear in (so that a temperature is
/// divided out beforehand, once a batch):
///   z_s = center + V ε^R_s + d ⊙ ε^J_s  (B,J)
///   HET     a_s = z_s                   J = K; weight and bias undefined
///   HET-XL  a_s = z_s weightᵀ + bias    or, with `normalize`, (z_s / |z_s|) weightᵀ + bias
struct SampledLogits {
  Var center = {};  // (B,J)
  NoiseScales scales = {};
  Var weight = {}, bias = {};  // (K,J), (K); bias may be undefined
  NoiseSource noise = {};
  int64_t samples = 1;     // S; 1 without noise
  bool normalize = false;  // each z_s is brought to length 1 (l2_normalize), the temperature staying with weight
  /// Where classes are divided among ranks: the ones that this is about (K of them), for all rows of the batch. Noise
  /// on the logits is that of these classes among all.
  ClassShard shard = {};

  /// K.
  int64_t classes() const { return weight.defined() ? weight.dim(0) : center.dim(1); }
};

/// Throws Error, as of `op`, where shapes do not fit.
void check(const SampledLogits& a, const std::string& op);

/// Fills eps (B,C,n) with the standard normals of samples from `sample` and of coordinates from `coordinate` on.
void draw_noise(const NoiseSource& noise, const RngAddress& address, int64_t sample, int64_t coordinate, Tensor& eps);

/// What a loss is differentiated by: center, d, v, factors, weight and bias, undefined where there is none.
std::vector<Var> inputs_of(const SampledLogits& a);
/// The same description with other values of those.
SampledLogits with_inputs(SampledLogits a, const std::vector<Var>& inputs);

}  // namespace sked
