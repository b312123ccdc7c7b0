#include "layers/heads/temperature.h"

#include <cmath>

#include "autograd/elementwise.h"

namespace sked {

Temperature::Temperature(const HeadConfig& config, Init& init)
    : fixed_(config.temperature), lo_(config.temperature_lo), hi_(config.temperature_hi) {
  if (!config.learn_temperature) return;
  t_ = parameter(init.constant({}, 0));
  add("t", t_);
}

Var Temperature::var(const Var& logits) const {
  if (t_.defined()) return (hi_ - lo_) * sigmoid(t_) + lo_;
  return Var(Tensor::full({}, fixed_, logits.dtype(), logits.device()));
}

double Temperature::value() const {
  if (!t_.defined()) return fixed_;
  return lo_ + (hi_ - lo_) / (1 + std::exp(-t_.value().item()));
}

}  // namespace sked
