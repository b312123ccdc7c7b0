#pragma once
// The temperature τ that divides the logits inside the link function.

#include "layers/heads/head.h"

namespace sked {

/// A fixed τ, or a learned one: τ = lo + (hi − lo) sigmoid(t) with one scalar parameter `t`, 0 at first ("Temperature"
/// of METHOD.md; learning it is [1]'s). Bounded on both sides: as τ → 0 the averaged softmax becomes an average of
/// argmaxes, and its gradient noise without bound.
class Temperature : public Module {
 public:
  Temperature(const HeadConfig& config, Init& init);

  /// τ as a scalar of the logits' dtype and device, on the tape when it is learned.
  Var var(const Var& logits) const;
  /// τ as a number.
  double value() const;

 private:
  double fixed_, lo_, hi_;
  Var t_;  // undefined when τ is fixed
};

}  // namespace sked
