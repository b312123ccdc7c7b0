#include "layers/heads/deterministic.h"

#include "autograd/loss.h"
#include "autograd/reduce.h"
#include "layers/heads/streaming.h"

namespace sked {

Var Deterministic::loss(const Var& phi, const Targets& targets, const Context&) {
  check(phi);
  check_targets(targets, phi.dim(0), classes());
  if (shard().divided()) {
    const RankRows rows = rows_of(phi.value());
    return streaming_loss(link_, mean_sampled_logits(rows.all(phi)), own_targets(targets, rows));
  }
  const Var a = mean_logits(phi);
  if (link_ == Link::sigmoid) return mean(sigmoid_cross_entropy(a, dense_targets(targets, classes(), a.value())));
  if (targets.labels.defined()) return mean(cross_entropy(a, targets.labels));
  return mean(soft_cross_entropy(a, dense_targets(targets, classes(), a.value())));
}

Tensor Deterministic::predict(const Tensor& phi, int64_t samples, const Context&) {
  require(samples >= 0, "head", "expected 0 or more samples, got ", samples);
  return predict_mean(phi);
}

Tensor Deterministic::noise_scale(const Tensor& phi) {
  check(Var(phi));
  return Tensor::zeros({phi.dim(0)}, phi.dtype(), phi.device());
}

}  // namespace sked
