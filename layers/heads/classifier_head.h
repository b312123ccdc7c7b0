#pragma once
// What the heads of classes share: classifier, link and temperature.

#include "layers/heads/head.h"
#include "layers/heads/options.h"
#include "layers/heads/sampled_logits.h"
#include "layers/heads/temperature.h"

namespace sked {

/// Parameters `weight` W (K,D), lecun-normal, `bias` b (K), constant, and `temperature.t` when τ is learned. Where
/// classes are divided among ranks (config.shard_classes), W and b are their rows of this rank's classes.
class ClassifierHead : public Head {
 public:
  Tensor classifier_logits(const Tensor& phi) override;
  double temperature() const override { return temperature_.value(); }
  int64_t extra_parameters() const override { return parameter_count() - classes() * (weight_.dim(1) + 1); }

 protected:
  ClassifierHead(const HeadConfig& config, int64_t width, const ClassShard& classes, Init& init);

  /// K, of all ranks together.
  int64_t classes() const { return shard_.total; }
  /// Which of them are here.
  const ClassShard& shard() const { return shard_; }
  /// The rows of the batch of which φ (B,…) is this rank's: of all ranks where classes are divided, else φ's own.
  RankRows rows_of(const Tensor& phi) const { return {shard_.ranks, phi.dim(0)}; }
  /// The targets of all rows: labels, or distributions of this rank's classes.
  Targets own_targets(const Targets& targets, const RankRows& rows) const;
  /// Throws Error unless φ is (B,D), of the weights' dtype.
  void check(const Var& phi) const;
  /// (W φ + b) / τ (B,K): without noise.
  Var mean_logits(const Var& phi) const;
  /// The same by what they are linear in.
  SampledLogits mean_sampled_logits(const Var& phi) const;
  /// The link of them, without a tape.
  Tensor predict_mean(const Tensor& phi) const;

  Link link_;
  Var weight_, bias_;
  Temperature temperature_;

 private:
  ClassShard shard_;
};

}  // namespace sked
