#include "layers/conv.h"

#include "autograd/conv.h"
#include "autograd/layer_norm.h"
#include "autograd/shape.h"

namespace sked {

Conv2d::Conv2d(Init& init, int64_t in, int64_t out, int64_t kernel, int64_t stride, int64_t groups)
    : window_{kernel, stride, (kernel - 1) / 2, groups},
      weight_(parameter(init.kaiming_fan_out({out, in / groups, kernel, kernel}))) {
  add("weight", weight_);
}

Var Conv2d::apply(const Var& x, const Var& weight) const { return conv2d(x, weight, {}, window_); }

double Conv2d::flops(int64_t height, int64_t width) const {
  return 2.0 * static_cast<double>(window_.output(height) * window_.output(width) * weight_.numel());
}

Var StdConv2d::forward(const Var& x) const {
  constexpr double kEps = 1e-8;
  const Var& w = weight();  // (O,I,k,k)
  // Layer norm of a row is exactly this standardization.
  const Var rows = layer_norm(reshape(w, {w.dim(0), -1}), {}, {}, kEps);
  return apply(x, reshape(rows, w.shape()));
}

}  // namespace sked
