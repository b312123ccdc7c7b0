#pragma once
// The temperature τ that divides the logits inside the link function.

#include "layers/heads/options.h"
#include "layers/module.h"

namespace sked {

/// A fixed τ, or a learned one ([1]; METHOD.md, "Temperature"): τ = lo + (hi − lo) sigmoid(t) with one scalar parameter
/// `t`, at first such that τ is config.init, or 0. Bounded on both sides: as τ → 0 the averaged softmax becomes an
/// average of argmaxes, and its gradient noise without bound.
class Temperature : public Module {
 public:
  /// Throws UsageError naming the key in `section` of a configuration unless τ > 0 and, where learned, 0 < lo < hi
  /// and lo < init < hi (or init = 0).
  Temperature(const TemperatureConfig& config, const std::string& section, Init& init);

  /// τ as a scalar of the logits' dtype and device, on the tape when it is learned.
  Var var(const Var& logits) const;
  /// τ as a number.
  double value() const;

 private:
  TemperatureConfig config_;
  Var t_;  // undefined when τ is fixed
};

}  // namespace sked
