#pragma once
// HET and HET-XL: a classifier with input-dependent noise, in two places.

#include <functional>

#include "layers/heads/classifier_head.h"
#include "layers/heads/noise.h"
#include "layers/heads/sampled_logits.h"

namespace sked {

/// p = E_s link(u_s / τ) with
///   HET    [2]  u_s = (W φ + b) + ε_s(x)   noise on the logits, J = K
///   HET-XL [1]  u_s = W (φ + ε_s(x)) + b   the same noise on the pre-logits, J = D: its parameters do not grow with K
/// (METHOD.md, "HET" and METHOD.md, "HET-XL"). Parameters: those of ClassifierHead, and GaussianNoise's as `noise.*`.
class Heteroscedastic : public ClassifierHead {
 public:
  /// config.kind is het or het_xl.
  Heteroscedastic(const HeadConfig& config, int64_t width, const ClassShard& classes, Init& init);

  /// −log of the average over config.train_samples samples. Memory beside φ's and the parameters' is O(B S), or that of
  /// config.sample_chunk samples of the composed likelihood.
  Var loss(const Var& phi, const Targets& targets, const Context& context) override;
  Tensor predict(const Tensor& phi, int64_t samples, const Context& context) override;
  Tensor noise_scale(const Tensor& phi) override;
  Tensor noise_variance(const Tensor& phi) override;
  NoiseParts noise_parts(const Tensor& phi) override;
  Tensor logit_covariance(const Tensor& phi) override;

 private:
  /// What the noise is added to, as `center` (B,J), and the classifier where it is still to come. The whole difference
  /// between HET and HET-XL.
  SampledLogits before_noise(const Var& phi) const;
  /// The noisy coordinates: what the noise is added to has them, for any φ. Divided where classes are and these are
  /// they.
  ClassShard noisy_coordinates() const;
  /// a_s = u_s / τ.
  SampledLogits logits(const Var& phi, int64_t samples, const Context& context) const;
  /// (B) of f (B) of the variances (B,J) of the noisy coordinates here: its sum over the ranks that have the others.
  Tensor sum_of_variances(const Tensor& phi, const std::function<Var(const Var&)>& f) const;
  /// `predict` of rows that fit into memory at once.
  Tensor predict_block(const Tensor& phi, int64_t samples, const Context& context) const;

  HeadKind kind_;
  int64_t train_samples_, chunk_;
  bool composed_;
  GaussianNoise noise_;
};

}  // namespace sked
