#pragma once
// What every head of classes does: from pre-logits φ (B,D) to a distribution over K classes, and the loss that trains
// it. METHOD.md has the mathematics and what [1], [2] and so on are.

#include "layers/heads/targets.h"
#include "layers/module.h"

namespace sked {

/// What the noise of each example is made of: ε(x) = V(x) ε^R + d(x) ⊙ ε^J (METHOD.md, "Noise"), before τ divides.
struct NoiseParts {
  Tensor deviation;  // d(x) (B,J); undefined for DET
  Tensor factors;    // V(x) (B,J,R); undefined of diagonal factors, too
};

/// Where a head's classes are divided among ranks (class_shard.h), everything that takes φ is a collective: φ, targets
/// and results are a rank's own rows, perhaps none, of a batch that all ranks have together.
class Head : public Module {
 public:
  /// Mean loss over the batch, shape (): −log of the Monte Carlo average of probabilities (METHOD.md, "Likelihood").
  /// Of divided classes it is the loss of the whole batch, to be weighed on each rank by its share of the rows: the
  /// gradients of all ranks then sum to that loss's, and those of what is divided are complete.
  virtual Var loss(const Var& phi, const Targets& targets, const Context& context) = 0;
  /// Probabilities (B,K): (1/S) Σ_s link(u_s/τ) with S = `samples`; 0: link((Wφ + b)/τ). No tape.
  virtual Tensor predict(const Tensor& phi, int64_t samples, const Context& context) = 0;
  /// Wφ + b (B,K): neither noise nor τ. No tape.
  virtual Tensor classifier_logits(const Tensor& phi) = 0;
  /// Standard deviation of the noise per coordinate, averaged over coordinates: (B) f32; zeros for DET. For reports.
  virtual Tensor noise_scale(const Tensor& phi) = 0;
  /// Total variance of the noise, tr Σ(x): (B) f32; zeros for DET. For reports.
  virtual Tensor noise_variance(const Tensor& phi) = 0;
  /// d(x) and V(x), the latter of J·R numbers an example. No tape.
  virtual NoiseParts noise_parts(const Tensor& phi) = 0;
  /// Covariance of the sampled logits u/τ in closed form: (B,K,K); undefined for DET. No tape. Throws Error where
  /// classes are divided.
  virtual Tensor logit_covariance(const Tensor& phi) = 0;
  /// The current τ.
  virtual double temperature() const = 0;
  /// Parameters beyond the classifier W, b: those of METHOD.md, "Noise", and a learned τ.
  virtual int64_t extra_parameters() const = 0;
};

}  // namespace sked
