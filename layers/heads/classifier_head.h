#pragma once
// What the heads of classes share: classifier, link and temperature.

#include "layers/heads/head.h"
#include "layers/heads/options.h"
#include "layers/heads/temperature.h"

namespace sked {

/// Parameters `weight` W (K,D), lecun-normal, `bias` b (K), constant, and `temperature.t` when τ is learned.
class ClassifierHead : public Head {
 public:
  Tensor classifier_logits(const Tensor& phi) override;
  double temperature() const override { return temperature_.value(); }
  int64_t extra_parameters() const override { return parameter_count() - weight_.numel() - bias_.numel(); }

 protected:
  ClassifierHead(const HeadConfig& config, int64_t width, int64_t classes, Init& init);

  int64_t classes() const { return weight_.dim(0); }
  /// Throws Error unless φ is (B,D), of the weights' dtype.
  void check(const Var& phi) const;
  /// (W φ + b) / τ (B,K): without noise.
  Var mean_logits(const Var& phi) const;
  /// The link of them, without a tape.
  Tensor predict_mean(const Tensor& phi) const;

  Link link_;
  Var weight_, bias_;
  Temperature temperature_;
};

}  // namespace sked
