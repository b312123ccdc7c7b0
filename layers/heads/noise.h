#pragma once
// The input-dependent noise of HET and HET-XL: ε_s(x) ~ N(0, Σ(x)) over J coordinates, the classes for HET (J = K), the
// pre-logits for HET-XL (J = D).

#include <memory>
#include <string>

#include "layers/heads/options.h"
#include "layers/heads/sampled_logits.h"
#include "layers/linear.h"

namespace sked {

/// Throws Error unless the context has the global index of each of `rows` examples.
void check_examples(const Context& context, int64_t rows);

/// Σ(x) = V(x) V(x)ᵀ + diag(d(x)²), drawn as ε_s = V(x) ε^R_s + d(x) ⊙ ε^J_s with independent standard normals ε^R (R)
/// and ε^J (J) ([2]; METHOD.md, "Noise"). d(x) = softplus(W_d φ + b_d) + 1e-3, and V(x) (J,R) is, by its form,
///   full       V(x) = reshape(W_V φ + b_V)                      J·R·(D+1) + J·(D+1) parameters
///   efficient  V(x) = (v(x) 1ᵀ) ⊙ V, v(x) = W_v φ + b_v, V free  J·(D+1) + J·R + J·(D+1)
///   diagonal   absent                                          J·(D+1)
/// With config.factor_bias efficient factors take V ε^R + c in place of V ε^R, c (J) free: ε_s then has the mean
/// v(x) ⊙ c. Modules: `factors` (W_V, b_V or W_v, b_v), `v` (V), `v_bias` (c), `diagonal` (W_d, b_d); weights
/// lecun-normal, biases 0, but b_d such that d(x) is config.init where W_d φ is 0. config.init_scale multiplies the
/// weights that read φ, so that V(x) is proportional to it in both forms.
class GaussianNoise : public Module {
 public:
  /// Throws UsageError naming the key in `section` of a configuration for R < 1 or R > J with factors
  /// that have a rank, an initial deviation or scale out of range, a bias of factors that are not efficient. Where
  /// coordinates are divided among ranks, everything but coordinates() is of this rank's own, parameters too.
  GaussianNoise(const NoiseConfig& config, const std::string& section, int64_t width, const ClassShard& coordinates,
                Init& init);

  /// J, of all ranks together.
  int64_t coordinates() const { return shard_.total; }
  /// Which of them are here.
  const ClassShard& shard() const { return shard_; }
  /// R; 0 for diagonal factors.
  int64_t rank() const { return rank_; }

  /// What the noise of a batch depends on, computed once for all its samples from φ (B,D).
  NoiseScales scales(const Var& phi) const;
  /// V(x) (B,J,R) of any form; undefined of diagonal factors.
  Var factors(const NoiseScales& scales) const;
  /// E ε_s = v(x) ⊙ c (B,J), to be added to what the noise is added to; undefined where the noise has no mean.
  Var mean(const NoiseScales& scales) const;

  /// Where the noise of a batch is drawn: ε^R and ε^J are addressed by (context.seed, a stream each, context.step) and
  /// (example, sample, coordinate). Outside training they come from other streams at step 0, so that predictions do not
  /// depend on when they are made. Throws unless the context has as many examples as there are rows.
  NoiseSource source(const Context& context, int64_t rows) const;

  /// diag Σ(x): (B,J).
  Tensor variance(const Tensor& phi) const;
  /// Σ(x): (B,J,J), in closed form.
  Tensor covariance(const Tensor& phi) const;
  /// W Σ(x) Wᵀ: (B,K,K) for weight W (K,J), without Σ(x) itself.
  Tensor covariance(const Tensor& phi, const Var& weight) const;

 private:
  struct Streams {
    uint64_t factors, diagonal;
  };

  Factors form_;
  ClassShard shard_;
  int64_t rank_;
  bool shared_diagonal_, antithetic_;
  Streams training_, prediction_;
  Linear diagonal_;
  std::unique_ptr<Linear> factors_;  // absent for diagonal factors
  Var v_, v_bias_;                   // V and c of efficient factors
};

}  // namespace sked
