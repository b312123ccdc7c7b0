#pragma once
// DET: the classifier without noise, and what every head has.

#include "layers/heads/head.h"
#include "layers/heads/likelihood.h"
#include "layers/heads/temperature.h"

namespace sked {

/// u = W φ + b, p = link(u / τ). Parameters `weight` (K,D), lecun-normal, `bias` (K), constant, and `temperature.t`
/// when τ is learned.
class Deterministic : public Head {
 public:
  Deterministic(const HeadConfig& config, Link link, int64_t width, int64_t classes, Init& init);

  /// Cross-entropy of u / τ. Neither samples nor the context play a part.
  Var loss(const Var& phi, const Targets& targets, const Context& context) override;
  Tensor predict(const Tensor& phi, int64_t samples, const Context& context) override;
  Tensor noise_scale(const Tensor& phi) override;
  double temperature() const override { return temperature_.value(); }
  int64_t extra_parameters() const override { return parameter_count() - weight_.numel() - bias_.numel(); }

 protected:
  int64_t classes() const { return weight_.dim(0); }
  /// Throws Error unless φ is (B,D).
  void check(const Var& phi) const;

  Link link_;
  Var weight_, bias_;
  Temperature temperature_;
};

}  // namespace sked
