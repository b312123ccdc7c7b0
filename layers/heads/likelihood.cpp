#include "layers/heads/likelihood.h"

#include <algorithm>

#include "autograd/elementwise.h"
#include "autograd/index.h"
#include "autograd/reduce.h"
#include "autograd/shape.h"
#include "autograd/softmax.h"
#include "core/kernels/index.h"
#include "core/kernels/memory.h"

namespace sked {

void check_targets(const Targets& targets, int64_t rows, int64_t classes) {
  const bool labels = targets.labels.defined(), distributions = targets.distributions.defined();
  require(labels != distributions, "loss", "expected labels or distributions, got ", labels ? "both" : "neither");
  if (labels) {
    require(targets.labels.dtype() == DType::i64 && targets.labels.shape() == Shape{rows}, "loss", "expected labels (",
            rows, ") i64, got ", targets.labels);
  } else {
    require(is_floating(targets.distributions.dtype()) && targets.distributions.shape() == Shape{rows, classes}, "loss",
            "expected distributions (", rows, ", ", classes, ") f32, got ", targets.distributions);
  }
}

Tensor dense_targets(const Targets& targets, int64_t classes, const Tensor& like) {
  if (targets.distributions.defined()) return targets.distributions.to(like.dtype()).to(like.device());
  const int64_t rows = targets.labels.dim(0);
  Tensor one_hot = Tensor::empty({rows, 1, classes}, like.dtype(), like.device());
  // The adjoint of reading one element of each row is writing one.
  kernel::pick_backward(Tensor::full({rows, 1}, 1, like.dtype(), like.device()), targets.labels.to(like.device()),
                        one_hot);
  return one_hot.reshape({rows, classes});
}

Var link_probabilities(Link link, const Var& a) { return link == Link::softmax ? softmax(a) : sigmoid(a); }

Var streaming_loss(Link link, const SampledLogits& a, const Targets& targets) {
  if (link == Link::softmax && targets.labels.defined()) return mean(streaming_nll(a, targets.labels));
  const int64_t classes = a.weight.defined() ? a.weight.dim(0) : a.center.dim(1);
  const Tensor t = dense_targets(targets, classes, a.center.value());
  return mean(link == Link::softmax ? streaming_soft_nll(a, t) : streaming_sigmoid_nll(a, t));
}

Tensor streaming_predict(Link link, const SampledLogits& a) {
  return link == Link::softmax ? streaming_softmax(a) : streaming_sigmoid(a);
}

Var MonteCarloLikelihood::loss(const SampleChunk& a, const std::vector<Var>& inputs, int64_t samples,
                               const Targets& targets) const {
  if (link_ == Link::sigmoid) {
    const auto both = [a](const std::vector<Var>& in, int64_t first, int64_t count) {
      const Var a_s = a(in, first, count);
      return concat({log_sigmoid(a_s), log_sigmoid(-a_s)}, 2);  // (B,C,2K)
    };
    const Var logs = logmeanexp_streamed(both, inputs, samples, chunk_);
    const int64_t classes = logs.dim(1) / 2;
    const Var log_p = slice(logs, 1, 0, classes), log_not_p = slice(logs, 1, classes, 2 * classes);
    const Var t(dense_targets(targets, classes, log_p.value()));
    return -mean(sum(t * log_p + (1 - t) * log_not_p, 1));
  }
  if (targets.labels.defined()) {
    const auto of_label = [a, y = targets.labels](const std::vector<Var>& in, int64_t first, int64_t count) {
      return pick(log_softmax(a(in, first, count)), y);  // c_s (B,C)
    };
    return -mean(logmeanexp_streamed(of_label, inputs, samples, chunk_));
  }
  const auto of_all = [a](const std::vector<Var>& in, int64_t first, int64_t count) {
    return log_softmax(a(in, first, count));
  };
  const Var log_p = logmeanexp_streamed(of_all, inputs, samples, chunk_);
  return -mean(sum(Var(dense_targets(targets, log_p.dim(1), log_p.value())) * log_p, 1));
}

Tensor MonteCarloLikelihood::predict(const SampleChunk& a, const std::vector<Var>& inputs, int64_t samples) const {
  const NoGrad off;
  Tensor total;
  for (int64_t first = 0; first < samples; first += chunk_) {
    const Var logits = a(inputs, first, std::min(chunk_, samples - first));
    const Tensor part = sum(link_probabilities(link_, logits), 1).value();
    if (total.defined())
      kernel::add_scaled(part, total, 1);
    else
      total = part;
  }
  kernel::affine(total, total, 1.0 / static_cast<double>(samples), 0);
  return total;
}

}  // namespace sked
