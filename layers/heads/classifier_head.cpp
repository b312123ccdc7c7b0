#include "layers/heads/classifier_head.h"

#include "autograd/elementwise.h"
#include "autograd/matmul.h"

namespace sked {

ClassifierHead::ClassifierHead(const HeadConfig& config, int64_t width, int64_t classes, Init& init)
    : link_(config.link),
      weight_(parameter(init.lecun_normal({classes, width}))),
      bias_(parameter(init.constant({classes}, config.bias_init))),
      temperature_(config.temperature, "head", init) {
  add("weight", weight_);
  add("bias", bias_);
  add("temperature", temperature_);
}

void ClassifierHead::check(const Var& phi) const {
  require(phi.ndim() == 2 && phi.dim(1) == weight_.dim(1) && phi.dtype() == weight_.dtype(), "head",
          "expected pre-logits (B, ", weight_.dim(1), ") ", weight_.dtype(), ", got ", phi.value());
}

Var ClassifierHead::mean_logits(const Var& phi) const {
  const Var u = linear(phi, weight_, bias_);
  return u / temperature_.var(u);
}

Tensor ClassifierHead::classifier_logits(const Tensor& phi) {
  const NoGrad off;
  check(Var(phi));
  return linear(Var(phi), weight_, bias_).value();
}

Tensor ClassifierHead::predict_mean(const Tensor& phi) const {
  const NoGrad off;
  check(Var(phi));
  return link_probabilities(link_, mean_logits(Var(phi))).value();
}

}  // namespace sked
