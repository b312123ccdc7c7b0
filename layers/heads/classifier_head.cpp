#include "layers/heads/classifier_head.h"

#include "autograd/elementwise.h"
#include "autograd/matmul.h"
#include "layers/heads/streaming.h"

namespace sked {

ClassifierHead::ClassifierHead(const HeadConfig& config, int64_t width, const ClassShard& classes, Init& init)
    : link_(config.link),
      weight_(parameter(init.lecun_normal({classes.total, width}, 1, classes.rows()))),
      bias_(parameter(init.constant({classes.own}, config.bias_init))),
      temperature_(config.temperature, "head", init),
      shard_(classes) {
  add("weight", weight_, shard_.row_shard());
  add("bias", bias_, shard_.row_shard());
  add("temperature", temperature_);
}

void ClassifierHead::check(const Var& phi) const {
  require(phi.ndim() == 2 && phi.dim(1) == weight_.dim(1) && phi.dtype() == weight_.dtype(), "head",
          "expected pre-logits (B, ", weight_.dim(1), ") ", weight_.dtype(), ", got ", phi.value());
}

// Labels cross the host, where they are checked.
Targets ClassifierHead::own_targets(const Targets& targets, const RankRows& rows) const {
  if (!shard_.divided()) return targets;
  if (targets.labels.defined()) return {.labels = rows.all(targets.labels.to(Device::cpu))};
  return {.distributions = rows.own_classes(targets.distributions, shard_)};
}

Var ClassifierHead::mean_logits(const Var& phi) const {
  const Var u = linear(phi, weight_, bias_);
  return u / temperature_.var(u);
}

SampledLogits ClassifierHead::mean_sampled_logits(const Var& phi) const {
  const Var tau = temperature_.var(phi);
  return {.center = phi / tau, .weight = weight_, .bias = bias_ / tau, .shard = shard_};
}

Tensor ClassifierHead::classifier_logits(const Tensor& phi) {
  const NoGrad off;
  check(Var(phi));
  const RankRows rows = rows_of(phi);
  return rows.own_rows(linear(Var(rows.all(phi)), weight_, bias_).value(), shard_);
}

Tensor ClassifierHead::predict_mean(const Tensor& phi) const {
  const NoGrad off;
  check(Var(phi));
  if (!shard_.divided()) return link_probabilities(link_, mean_logits(Var(phi))).value();
  const RankRows rows = rows_of(phi);
  return rows.own_rows(streaming_predict(link_, mean_sampled_logits(Var(rows.all(phi)))), shard_);
}

}  // namespace sked
