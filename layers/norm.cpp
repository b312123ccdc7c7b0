#include "layers/norm.h"

#include "autograd/batch_norm.h"
#include "autograd/group_norm.h"
#include "autograd/layer_norm.h"

namespace sked {

BatchNorm2d::BatchNorm2d(Init& init, int64_t channels)
    : weight_(parameter(init.constant({channels}, 1))),
      bias_(parameter(init.constant({channels}, 0))),
      running_mean_(init.constant({channels}, 0)),
      running_var_(init.constant({channels}, 1)) {
  add("weight", weight_);
  add("bias", bias_);
  add("running_mean", running_mean_);
  add("running_var", running_var_);
}

Var BatchNorm2d::apply(const Var& x, const Var& residual, const Context& context, bool relu) {
  BatchNormOptions options;
  options.training = context.training && (weight_.requires_grad() || bias_.requires_grad());
  options.momentum = context.momentum;
  options.relu = relu;
  options.ranks = context.ranks;
  return batch_norm(x, residual, weight_, bias_, running_mean_, running_var_, options);
}

GroupNorm::GroupNorm(Init& init, int64_t channels, int64_t groups, double eps)
    : groups_(groups),
      eps_(eps),
      weight_(parameter(init.constant({channels}, 1))),
      bias_(parameter(init.constant({channels}, 0))) {
  require(groups > 0 && channels % groups == 0, "group_norm", "expected groups that divide the channels, got ", groups,
          " groups of ", channels, " channels");
  add("weight", weight_);
  add("bias", bias_);
}

Var GroupNorm::forward(const Var& x) const { return group_norm(x, weight_, bias_, groups_, eps_); }

LayerNorm::LayerNorm(Init& init, int64_t width, double eps)
    : eps_(eps), weight_(parameter(init.constant({width}, 1))), bias_(parameter(init.constant({width}, 0))) {
  add("weight", weight_);
  add("bias", bias_);
}

Var LayerNorm::forward(const Var& x) const { return layer_norm(x, weight_, bias_, eps_); }

NormedSum LayerNorm::forward_sum(const Var& x, const Var& branch) const {
  return add_layer_norm(x, branch, weight_, bias_, eps_);
}

}  // namespace sked
