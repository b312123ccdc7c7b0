#include "layers/heads/targets.h"

#include <bit>
#include <map>
#include <mutex>
#include <numeric>
#include <utility>
#include <vector>

#include "autograd/elementwise.h"
#include "autograd/softmax.h"
#include "core/kernels/index.h"

namespace sked {

Var link_probabilities(Link link, const Var& a) { return link == Link::softmax ? softmax(a) : sigmoid(a); }

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

Tensor row_numbers(int64_t n, Device device) {
  const auto make = [device](int64_t count) {
    std::vector<int64_t> numbers(static_cast<size_t>(count));
    std::iota(numbers.begin(), numbers.end(), int64_t{0});
    return Tensor::from(numbers, {count}).to(device);
  };
  if (device == Device::cpu) return make(n);
  // A recorded step (core/recording.h) reads them again, but may not bring them from the host: they are kept for good.
  // Counts are powers of two, so that all that is kept is less than four times the largest batch.
  static std::mutex mutex;
  static auto& kept = *new std::map<std::pair<Device, int64_t>, Tensor>;
  const auto count = static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(n)));
  const std::lock_guard lock(mutex);
  Tensor& numbers = kept[{device, count}];
  if (!numbers.defined()) numbers = make(count);
  return numbers.rows(0, n);
}

}  // namespace sked
