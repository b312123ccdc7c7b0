#include "layers/linear.h"

#include "autograd/matmul.h"

namespace sked {

Linear::Linear(Tensor weight, Tensor bias, RowShard shard) : weight_(parameter(std::move(weight))) {
  require(weight_.ndim() == 2, "linear", "expected a weight (O,I), got ", weight_.value());
  add("weight", weight_, shard);
  if (!bias.defined()) return;
  require_shape(bias, {weight_.dim(0)}, "linear", "bias");
  bias_ = parameter(std::move(bias));
  add("bias", bias_, shard);
}

Var Linear::forward(const Var& x, Activation act) const { return linear(x, weight_, bias_, act); }

Linear vit_linear(Init& init, int64_t in, int64_t out) {
  return Linear(init.truncated_normal({out, in}, 0.02), init.constant({out}, 0));
}

}  // namespace sked
