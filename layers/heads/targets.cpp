#include "layers/heads/targets.h"

#include <algorithm>

#include "autograd/elementwise.h"
#include "autograd/softmax.h"
#include "core/kernels/elementwise.h"
#include "core/kernels/index.h"
#include "core/kernels/memory.h"

namespace sked {

Var link_probabilities(Link link, const Var& a) { return link == Link::softmax ? softmax(a) : sigmoid(a); }

/// On a GPU the host would have to wait for them.
static void check_shares(const Tensor& shares) {
  constexpr float kRounding = 1e-3F;
  const float *p = shares.data<float>(), *end = p + shares.numel();
  const float* wrong =
      std::find_if_not(p, end, [](float share) { return share >= -kRounding && share <= 1 + kRounding; });
  if (wrong != end)
    fail("loss", "expected distributions of numbers in [0, 1], got ", *wrong, " in row ", (wrong - p) / shares.dim(1));
}

void check_targets(const Targets& targets, int64_t rows, int64_t classes) {
  const bool labels = targets.labels.defined(), distributions = targets.distributions.defined();
  require(labels != distributions, "loss", "expected labels or distributions, got ", labels ? "both" : "neither");
  if (labels) {
    require(targets.labels.dtype() == DType::i64 && targets.labels.shape() == Shape{rows}, "loss", "expected labels (",
            rows, ") i64, got ", targets.labels);
  } else {
    require(is_floating(targets.distributions.dtype()) && targets.distributions.shape() == Shape{rows, classes}, "loss",
            "expected distributions (", rows, ", ", classes, ") f32, got ", targets.distributions);
    if (targets.distributions.device() == Device::cpu) check_shares(targets.distributions.to(DType::f32));
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

TargetValues label_smoothing(double a, int64_t classes) {
  const double off = a / static_cast<double>(classes);
  return {1 - a + off, off};
}

Targets with_values(const Targets& targets, TargetValues values, int64_t classes, const Tensor& like) {
  if (values == TargetValues{}) return targets;
  const Tensor dense = dense_targets(targets, classes, like);
  Tensor t = Tensor::like(dense);
  kernel::affine(dense, t, values.on - values.off, values.off);
  return {.distributions = t};
}

Tensor row_numbers(int64_t n, Device device) {
  Tensor numbers = Tensor::empty({n}, DType::i64, device);
  kernel::arange(numbers);
  return numbers;
}

}  // namespace sked
