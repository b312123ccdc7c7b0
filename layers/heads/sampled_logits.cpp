#include "layers/heads/sampled_logits.h"

#include "core/kernels/memory.h"
#include "core/kernels/random.h"

namespace sked {

namespace {

void check_noise(const SampledLogits& a, int64_t B, int64_t J, const std::string& op) {
  const auto& [d, v, factors] = a.scales;
  require_shape(a.noise.examples, {B}, op, "examples");
  require_shape(d.value(), {B, J}, op, "d");
  if (v.defined()) require_shape(v.value(), {B, J}, op, "v");
  require(factors.defined() || !v.defined(), op, "expected factors beside v");
  if (!factors.defined()) return;
  const int64_t R = factors.dim(-1);
  require_shape(factors.value(), v.defined() ? Shape{J, R} : Shape{B, J, R}, op, "factors");
}

}  // namespace

void check(const SampledLogits& a, const std::string& op) {
  const bool classifier = a.weight.defined();
  require(a.center.ndim() == 2, op, "expected center (B, J), got ", a.center.value());
  require(a.samples >= 1, op, "expected 1 or more samples, got ", a.samples);
  for (const Var& input : inputs_of(a)) {
    if (!input.defined()) continue;
    require(input.dtype() == a.center.dtype(), op, "expected all inputs in center's ", a.center.dtype(), ", got ",
            input.value());
  }
  const int64_t J = a.center.dim(1);
  if (a.scales.d.defined()) {
    check_noise(a, a.center.dim(0), J, op);
  } else {
    require(a.samples == 1 && classifier && !a.scales.v.defined() && !a.scales.factors.defined() && !a.normalize, op,
            "expected weight, one sample and nothing of the noise where d is undefined, got ", a.samples, " samples");
  }
  require(classifier || !a.normalize, op, "expected weight beside normalize");
  require(!a.shard.divided() || a.classes() == a.shard.own, op, "expected the ", a.shard.own,
          " classes of this rank, got ", a.classes());
  if (!classifier) return;
  require_shape(a.weight.value(), {a.classes(), J}, op, "weight");
  if (a.bias.defined()) require_shape(a.bias.value(), {a.classes()}, op, "bias");
}

// The kernel begins at a multiple of 4.
void draw_noise(const NoiseSource& noise, const RngAddress& address, int64_t sample, int64_t coordinate, Tensor& eps) {
  const int64_t before = coordinate % 4;
  const NoiseOrigin origin(sample, coordinate - before, noise.antithetic);
  if (before == 0) return kernel::gaussian_noise(noise.examples, eps, address, origin);
  Tensor wide = Tensor::empty(eps.shape().with(2, before + eps.dim(2)), eps.dtype(), eps.device());
  kernel::gaussian_noise(noise.examples, wide, address, origin);
  kernel::slice(wide, eps, 2, before);
}

std::vector<Var> inputs_of(const SampledLogits& a) {
  return {a.center, a.scales.d, a.scales.v, a.scales.factors, a.weight, a.bias};
}

SampledLogits with_inputs(SampledLogits a, const std::vector<Var>& inputs) {
  a.center = inputs[0];
  a.scales = {inputs[1], inputs[2], inputs[3]};
  a.weight = inputs[4];
  a.bias = inputs[5];
  return a;
}

}  // namespace sked
