#include "layers/heads/deterministic.h"

#include "autograd/elementwise.h"
#include "autograd/loss.h"
#include "autograd/matmul.h"
#include "autograd/reduce.h"

namespace sked {

Deterministic::Deterministic(const HeadConfig& config, Link link, int64_t width, int64_t classes, Init& init)
    : link_(link),
      weight_(parameter(init.lecun_normal({classes, width}))),
      bias_(parameter(init.constant({classes}, config.bias_init))),
      temperature_(config, init) {
  add("weight", weight_);
  add("bias", bias_);
  add("temperature", temperature_);
}

void Deterministic::check(const Var& phi) const {
  require(phi.ndim() == 2 && phi.dim(1) == weight_.dim(1), "head", "expected pre-logits (B, ", weight_.dim(1),
          "), got ", phi.value());
}

Var Deterministic::loss(const Var& phi, const Targets& targets, const Context&) {
  check(phi);
  check_targets(targets, phi.dim(0), classes());
  const Var u = linear(phi, weight_, bias_);
  const Var a = u / temperature_.var(u);
  if (link_ == Link::sigmoid) return mean(sigmoid_cross_entropy(a, dense_targets(targets, classes(), a.value())));
  if (targets.labels.defined()) return mean(cross_entropy(a, targets.labels));
  return mean(soft_cross_entropy(a, dense_targets(targets, classes(), a.value())));
}

Tensor Deterministic::predict(const Tensor& phi, int64_t, const Context&) {
  const NoGrad off;
  check(Var(phi));
  const Var u = linear(Var(phi), weight_, bias_);
  return link_probabilities(link_, u / temperature_.var(u)).value();
}

Tensor Deterministic::noise_scale(const Tensor& phi) { return Tensor::zeros({phi.dim(0)}, phi.dtype(), phi.device()); }

}  // namespace sked
