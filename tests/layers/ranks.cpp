// Networks whose batch several ranks compute, each some of its rows: the numbers of one rank that has them all.

#include <doctest/doctest.h>

#include "autograd/elementwise.h"
#include "autograd/loss.h"
#include "autograd/reduce.h"
#include "layers/models/model.h"
#include "layers/norm.h"
#include "tests/common/compare.h"
#include "tests/common/hash_weights.h"
#include "tests/common/thread_ranks.h"

using namespace sked;

namespace {

constexpr int64_t kRows = 7;
const Shape kImage{8, 8, 3};

/// A loss, and what it leaves in the network: gradients and running statistics, one behind the other.
struct Step {
  double loss = 0;
  std::vector<std::string> names;
  std::vector<Tensor> gradients, buffers;
};

/// One step on rows [begin, end) of a batch, whose loss is the mean over its rows.
Step step_on(const ModelConfig& config, DType dtype, int64_t begin, int64_t end, Communicator* ranks) {
  Init init(1);
  const auto network = make_backbone(config, kImage, init);
  for (NamedVar& p : network->parameters())
    p.var.mutable_value() = test::hash_parameter(p.name, p.var.shape()).to(dtype);
  for (auto& [name, buffer] : network->buffers()) *buffer = buffer->to(dtype);
  const Var images(test::hash_tensor({kRows, kImage[0], kImage[1], kImage[2]}, 1).to(dtype).rows(begin, end));
  const Context context{.training = true, .seed = 3, .step = 5, .first_row = begin, .ranks = ranks};
  const Var features = network->forward(images, context);
  const Tensor labels = test::hash_labels(kRows, features.dim(1), 2).rows(begin, end);
  const Var loss =
      mean(cross_entropy(features * 3.0, labels)) * (static_cast<double>(end - begin) / static_cast<double>(kRows));
  loss.backward();
  Step step{loss.value().item(), {}, {}, {}};
  for (const NamedVar& p : network->parameters()) step.names.push_back(p.name), step.gradients.push_back(p.var.grad());
  for (const auto& [name, buffer] : network->buffers()) step.buffers.push_back(*buffer);
  return step;
}

/// Where each rank's rows begin, and the end.
using Cuts = std::vector<int64_t>;

std::vector<Step> steps_of_ranks(const ModelConfig& config, DType dtype, const Cuts& cuts) {
  std::vector<Step> steps(cuts.size() - 1);
  test::on_ranks(std::ssize(steps), [&](Communicator& ranks) {
    const auto mine = static_cast<size_t>(ranks.rank());
    steps[mine] = step_on(config, dtype, cuts[mine], cuts[mine + 1], &ranks);
  });
  return steps;
}

void check_as_one(const ModelConfig& config, DType dtype, const Cuts& cuts, double tolerance) {
  INFO(config.name << " in " << dtype << " on " << cuts.size() - 1 << " ranks");
  const Step one = step_on(config, dtype, 0, kRows, nullptr);
  const std::vector<Step> some = steps_of_ranks(config, dtype, cuts);
  double loss = 0;
  for (const Step& step : some) loss += step.loss;
  CHECK(loss == doctest::Approx(one.loss).epsilon(tolerance));
  for (size_t i = 0; i < one.gradients.size(); ++i) {
    Tensor total = Tensor::zeros(one.gradients[i].shape(), dtype);
    for (const Step& step : some) total = (Var(total) + Var(step.gradients[i])).value();
    test::check_close(one.names[i], total, one.gradients[i], tolerance, 0.1);
  }
  for (size_t i = 0; i < one.buffers.size(); ++i)
    for (const Step& step : some) test::check_close("running statistics", step.buffers[i], one.buffers[i], tolerance);
}

const ModelConfig kResNet{
    .name = "resnet18", .blocks = {1, 1}, .base_width = 4, .stem = Stem::cifar, .shortcut = Shortcut::conv};
const ModelConfig kWide{.name = "wide-resnet10-1", .blocks = {1, 1}, .base_width = 8, .dropout = 0.3};

}  // namespace

TEST_CASE("ranks: a step of a residual network is that of one rank with all rows") {
  ModelConfig recomputed = kResNet, wide_recomputed = kWide;
  recomputed.recompute = wide_recomputed.recompute = true;
  for (const ModelConfig& config : {kResNet, recomputed, kWide, wide_recomputed})
    for (const Cuts& cuts : {Cuts{0, 3, 7}, {0, 6, 7}, {0, 1, 5, 7}}) {
      check_as_one(config, DType::f64, cuts, 1e-10);
      // Two to five norms, each with f32 sums in another order in both directions.
      check_as_one(config, DType::f32, cuts, 1e-4);
    }
}

TEST_CASE("ranks: with model.batch_norm local each normalizes its own rows") {
  for (ModelConfig config : {kResNet, kWide}) {
    config.batch_norm = BatchNormRows::local;
    const Cuts cuts{0, 3, 7};
    const std::vector<Step> some = steps_of_ranks(config, DType::f64, cuts);
    for (size_t r = 0; r < some.size(); ++r) {
      const Step one = step_on(config, DType::f64, cuts[r], cuts[r + 1], nullptr);
      CHECK(some[r].loss == one.loss);
      for (size_t i = 0; i < one.gradients.size(); ++i) CHECK(test::same_bits(some[r].gradients[i], one.gradients[i]));
      for (size_t i = 0; i < one.buffers.size(); ++i) CHECK(test::same_bits(some[r].buffers[i], one.buffers[i]));
    }
    CHECK_FALSE(test::same_bits(some[0].buffers[0], some[1].buffers[0]));
  }
}

TEST_CASE("ranks: batch norm that is frozen or evaluates meets no other rank") {
  const Var x(test::hash_tensor({4, 2, 2, 3}, 1), true);
  const auto run = [&](Communicator& ranks, bool frozen, bool training) {
    Init init(1);
    BatchNorm2d norm(init, 3);
    norm.set_requires_grad(!frozen);
    sum(norm.forward_relu(x, {.training = training, .ranks = &ranks})).backward();
    CHECK(norm.buffers()[0].second->to_vector<float>() == std::vector<float>(3, 0));
  };
  CHECK(test::meets_nobody([&](Communicator& ranks) { run(ranks, false, false); }));
  CHECK(test::meets_nobody([&](Communicator& ranks) { run(ranks, true, true); }));
  CHECK_FALSE(test::meets_nobody([&](Communicator& ranks) { run(ranks, false, true); }));
}
