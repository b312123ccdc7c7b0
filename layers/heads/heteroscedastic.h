#pragma once
// HET and HET-XL: a classifier with input-dependent noise, in two places.

#include "layers/heads/deterministic.h"
#include "layers/heads/noise.h"

namespace sked {

/// p = E_s link(u_s / τ) with
///   HET    [2]  u_s = (W φ + b) + ε_s(x)   noise on the logits, J = K
///   HET-XL [1]  u_s = W (φ + ε_s(x)) + b   the same noise on the pre-logits, J = D: its parameters do not grow with K
/// Parameters: those of Deterministic, and GaussianNoise's as `noise.*`.
class Heteroscedastic : public Deterministic {
 public:
  Heteroscedastic(const HeadConfig& config, HeadKind kind, Factors factors, Link link, int64_t width, int64_t classes,
                  Init& init);

  /// −log of the average over config.train_samples samples. Memory beside φ's and the parameters' is O(B S), or that of
  /// config.sample_chunk samples of the composed likelihood.
  Var loss(const Var& phi, const Targets& targets, const Context& context) override;
  Tensor predict(const Tensor& phi, int64_t samples, const Context& context) override;
  Tensor noise_scale(const Tensor& phi) override;

 private:
  /// a_s = u_s / τ, by what it is linear in.
  SampledLogits logits(const Var& phi, int64_t samples, const Context& context) const;

  // The composed likelihood.
  /// What the sampled logits of a batch depend on, computed once a batch; `sampled` says what is where.
  std::vector<Var> inputs(const Var& phi) const;
  /// a_s = u_s / τ (B,C,K) for C samples, a function of inputs(φ).
  SampleChunk sampled(const Context& context) const;

  HeadKind kind_;
  int64_t train_samples_;
  bool composed_;
  MonteCarloLikelihood likelihood_;
  GaussianNoise noise_;
};

}  // namespace sked
