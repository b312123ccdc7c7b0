#pragma once
// What a classifier puts a head on.

#include "layers/module.h"

namespace sked {

/// images (N,H,W,C) f32, or vectors (N,D′), -> pre-logits φ (N,D).
class Backbone : public Module {
 public:
  virtual Var forward(const Var& images, const Context& context) = 0;
  /// D.
  virtual int64_t width() const = 0;
  /// Arithmetic of one forward pass of one image: multiply-adds × 2, in operations. 0 when not known.
  virtual double flops_per_image() const { return 0; }
};

}  // namespace sked
