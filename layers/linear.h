#pragma once
// The affine map of every network.

#include "core/kernels/elementwise.h"
#include "layers/module.h"

namespace sked {

/// y (…,O) = act(x (…,I) wᵀ + b). Parameters `weight` (O,I) and `bias` (O).
class Linear : public Module {
 public:
  /// With initial values; an undefined `bias` means none. `shard`: which of all outputs these are, where they are
  /// divided among ranks.
  explicit Linear(Tensor weight, Tensor bias = {}, RowShard shard = {});

  /// The activation is fused into the product.
  Var forward(const Var& x, Activation act = Activation::none) const;
  const Var& weight() const { return weight_; }
  const Var& bias() const { return bias_; }

 private:
  Var weight_, bias_;
};

/// As timm initializes the linear layers of transformers: weights N(0, 0.02²) cut at ±2, bias 0.
Linear vit_linear(Init& init, int64_t in, int64_t out);

}  // namespace sked
