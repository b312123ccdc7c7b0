#pragma once
// What a classifier puts a head on.

#include <string>
#include <vector>

#include "layers/module.h"

namespace sked {

/// images (N,H,W,C) f32, or vectors (N,D′), -> pre-logits φ (N,D).
class Backbone : public Module {
 public:
  virtual Var forward(const Var& images, const Context& context) = 0;
  /// What else can be read on the way to φ, by name, in its order; none where a network offers nothing.
  virtual std::vector<std::string> layers() const { return {}; }
  /// Layer i of these: f32 (N,·).
  virtual Var forward_to(size_t i, const Var& images, const Context& context);
  /// Its layers from the images on, each as the parts of names that its parameters begin with (is_within): the stem,
  /// then each block, the last norm with the last block, as timm's group_matcher has them. What is in none belongs with
  /// the head. Empty where a network has none.
  virtual std::vector<std::vector<std::string>> parameter_layers() const { return {}; }
  /// D.
  virtual int64_t width() const = 0;
  /// Arithmetic of one forward pass of one image: multiply-adds × 2, in operations. 0 when not known.
  virtual double flops_per_image() const { return 0; }
};

inline Var Backbone::forward_to(size_t, const Var&, const Context&) {
  fail("backbone", "this network offers no layer but its representation");
}

}  // namespace sked
