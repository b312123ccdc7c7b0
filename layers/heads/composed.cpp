#include "layers/heads/composed.h"

#include <algorithm>
#include <cmath>

#include "autograd/elementwise.h"
#include "autograd/index.h"
#include "autograd/l2_normalize.h"
#include "autograd/matmul.h"
#include "autograd/recompute.h"
#include "autograd/reduce.h"
#include "autograd/shape.h"
#include "autograd/softmax.h"

namespace sked {

namespace {

/// (B,J) -> (B,1,J), to meet (B,C,J).
Var for_every_sample(const Var& x) { return reshape(x, {x.dim(0), 1, x.dim(1)}); }

/// How many samples are computed at once: pairs stay together.
int64_t at_once(int64_t chunk, const SampledLogits& a) {
  require(chunk >= 1, "composed", "expected a chunk of 1 or more samples, got ", chunk);
  chunk = std::min(chunk, a.samples);
  return a.noise.antithetic ? chunk + chunk % 2 : chunk;
}

void check_whole(const SampledLogits& a) {
  check(a, "composed");
  require(!a.shard.divided(), "composed", "expected all ", a.shard.total, " classes, got ", a.classes());
}

/// −log p of row i's own column i: a (B,S,B) -> (B).
Var own_nll(const Var& a) { return -logmeanexp(pick(log_softmax(a), row_numbers(a.dim(0), a.device())), 1); }

}  // namespace

Var composed_noise(const NoiseScales& scales, const NoiseSource& source, int64_t first, int64_t count) {
  const auto& [d, v, factors] = scales;
  const auto normal = [&, &d = d](const RngAddress& address, int64_t n) {  // (B,C,n)
    Tensor noise = Tensor::empty({d.dim(0), count, n}, d.dtype(), d.device());
    draw_noise(source, address, first, 0, noise);
    return Var(noise);
  };
  const Var diagonal =  // d ⊙ ε^J_s
      for_every_sample(d) * normal(source.diagonal, source.shared_diagonal ? 1 : d.dim(1));
  if (!factors.defined()) return diagonal;
  const Var eps = normal(source.factors, factors.dim(-1));  // ε^R_s (B,C,R)
  if (!v.defined()) return matmul(eps, factors, false, true) + diagonal;
  const Var q = linear(eps, factors);  // one product for all rows, factors being shared
  return for_every_sample(v) * q + diagonal;
}

Var composed_logits(const SampledLogits& a, int64_t first, int64_t count) {
  Var z = for_every_sample(a.center);
  if (a.scales.d.defined()) z = z + composed_noise(a.scales, a.noise, first, count);
  if (a.normalize) z = l2_normalize(z);
  return a.weight.defined() ? linear(z, a.weight, a.bias) : z;
}

Var log_probabilities(Link link, const Var& a, const Targets& targets) {
  if (link == Link::sigmoid) return concat({log_sigmoid(a), log_sigmoid(-a)}, 2);
  return targets.labels.defined() ? pick(log_softmax(a), targets.labels) : log_softmax(a);
}

Var negative_log_likelihood(Link link, const Var& log_p, const Targets& targets) {
  if (link == Link::sigmoid) {
    const int64_t classes = log_p.dim(1) / 2;
    const Var yes = slice(log_p, 1, 0, classes), no = slice(log_p, 1, classes, 2 * classes);
    const Var t(dense_targets(targets, classes, log_p.value()));
    return -sum(t * yes + (1 - t) * no, 1);
  }
  if (targets.labels.defined()) return -log_p;
  return -sum(Var(dense_targets(targets, log_p.dim(1), log_p.value())) * log_p, 1);
}

Var composed_loss(Link link, const SampledLogits& a, const Targets& targets, int64_t chunk) {
  check_whole(a);
  chunk = at_once(chunk, a);
  if (a.samples <= chunk) {
    const Var logs = log_probabilities(link, composed_logits(a, 0, a.samples), targets);
    return mean(negative_log_likelihood(link, logmeanexp(logs, 1), targets));
  }
  std::vector<Var> parts;  // each (B,1) or (B,1,…)
  for (int64_t first = 0; first < a.samples; first += chunk) {
    const auto part = [=](const std::vector<Var>& inputs) {
      const Var logits = composed_logits(with_inputs(a, inputs), first, std::min(chunk, a.samples - first));
      return logsumexp(log_probabilities(link, logits, targets), 1, true);
    };
    parts.push_back(recompute(part, inputs_of(a)));
  }
  const Var log_p = logsumexp(concat(parts, 1), 1) - std::log(static_cast<double>(a.samples));
  return mean(negative_log_likelihood(link, log_p, targets));
}

Tensor composed_predict(Link link, const SampledLogits& a, int64_t chunk) {
  const NoGrad off;
  check_whole(a);
  chunk = at_once(chunk, a);
  Var total;
  for (int64_t first = 0; first < a.samples; first += chunk) {
    const Var logits = composed_logits(a, first, std::min(chunk, a.samples - first));
    const Var part = sum(link_probabilities(link, logits), 1);
    total = total.defined() ? total + part : part;
  }
  return (total / static_cast<double>(a.samples)).value();
}

Var composed_contrastive(const SampledLogits& a) {
  check_whole(a);
  const Var logits = composed_logits(a, 0, a.samples);  // (B,S,B): image, sample, text
  return (own_nll(logits) + own_nll(permute(logits, {2, 1, 0}))) / 2.0;
}

}  // namespace sked
