#pragma once
// DET: the classifier without noise.

#include "layers/heads/classifier_head.h"

namespace sked {

/// u = W φ + b, p = link(u / τ) (METHOD.md, "DET"). Parameters: those of ClassifierHead.
class Deterministic : public ClassifierHead {
 public:
  Deterministic(const HeadConfig& config, int64_t width, const ClassShard& classes, Init& init)
      : ClassifierHead(config, width, classes, init) {}

  /// Cross-entropy of u / τ. Neither samples nor the context play a part.
  Var loss(const Var& phi, const Targets& targets, const Context& context) override;
  Tensor predict(const Tensor& phi, int64_t samples, const Context& context) override;
  Tensor noise_scale(const Tensor& phi) override;
  Tensor noise_variance(const Tensor& phi) override { return noise_scale(phi); }
  NoiseParts noise_parts(const Tensor&) override { return {}; }
  Tensor logit_covariance(const Tensor&) override { return {}; }
};

}  // namespace sked
