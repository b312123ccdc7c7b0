#include "layers/heads/streamed.h"

#include <algorithm>
#include <cmath>

#include "autograd/elementwise.h"
#include "autograd/reduce.h"
#include "autograd/shape.h"

namespace sked {

namespace {

/// y (B,1,…), the sample axis kept.
Tensor running_logmeanexp(const SampleChunk& x, const std::vector<Var>& inputs, int64_t samples, int64_t chunk) {
  const NoGrad off;
  Var sum;
  for (int64_t first = 0; first < samples; first += chunk) {
    const Var part = logsumexp(x(inputs, first, std::min(chunk, samples - first)), 1, true);
    sum = sum.defined() ? logsumexp(concat({sum, part}, 1), 1, true) : part;
  }
  return (sum - std::log(static_cast<double>(samples))).value();
}

/// w_s ⊙ dy for one chunk x_s (B,C,…).
Tensor chunk_cotangent(const Tensor& x, const Tensor& y, const Tensor& dy, int64_t samples) {
  const NoGrad off;
  return (exp(Var(x) - Var(y)) * (Var(dy) / static_cast<double>(samples))).value();
}

}  // namespace

Var logmeanexp_streamed(const SampleChunk& x, const std::vector<Var>& inputs, int64_t samples, int64_t chunk) {
  if (samples <= chunk) return logmeanexp(x(inputs, 0, samples), 1);

  std::vector<Var> leaves;  // the inputs, cut off from what they were computed from
  for (const Var& input : inputs) leaves.emplace_back(input.value(), input.requires_grad());
  const Tensor y = running_logmeanexp(x, leaves, samples, chunk);
  // Saves y and the inputs' values.
  return record(y.reshape(y.shape().without(1)), inputs, [=](const Tensor& dy) {
    const NoGrad on(false);
    for (int64_t first = 0; first < samples; first += chunk) {
      const Var part = x(leaves, first, std::min(chunk, samples - first));
      part.backward(chunk_cotangent(part.value(), y, dy.reshape(y.shape()), samples));
    }
    Grads grads;
    for (const Var& leaf : leaves) grads.push_back(leaf.grad());
    return grads;
  });
}

}  // namespace sked
