#pragma once
// Convolutions without bias (a norm follows or precedes each of them). Images NHWC, filters OIHW.

#include "core/kernels/conv.h"
#include "layers/module.h"

namespace sked {

/// y (N,P,Q,O) = x (N,H,W,I) ∗ w. Parameter `weight` (O,I/groups,kernel,kernel), Kaiming normal by fan-out as in
/// torchvision.
class Conv2d : public Module {
 public:
  /// Padding (kernel − 1) / 2: stride 1 keeps the extents.
  Conv2d(Init& init, int64_t in, int64_t out, int64_t kernel, int64_t stride = 1, int64_t groups = 1);

  Var forward(const Var& x) const { return apply(x, weight_); }
  const Window& window() const { return window_; }
  /// Arithmetic for one image of (height, width): 2 · P · Q · O · I/groups · kernel².
  double flops(int64_t height, int64_t width) const;

 protected:
  Var apply(const Var& x, const Var& weight) const;
  const Var& weight() const { return weight_; }

 private:
  Window window_;
  Var weight_;
};

/// The same with standardized weights (Qiao et al., arXiv 1903.10520): every filter has mean 0 and variance 1 over its
/// I·kernel² elements, ŵ = (w − mean) / sqrt(var + eps). eps is BiT's 1e-8.
class StdConv2d : public Conv2d {
 public:
  using Conv2d::Conv2d;
  Var forward(const Var& x) const;
};

}  // namespace sked
