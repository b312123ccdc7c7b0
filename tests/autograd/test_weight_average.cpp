// Averages of weights: updated by a step of the optimizer in its own pass, bit for bit as behind it; swapped; kept.

#include <doctest/doctest.h>

#include <functional>
#include <utility>

#include "autograd/optimizer.h"
#include "autograd/weight_average.h"
#include "core/error.h"
#include "core/names.h"
#include "tests/common/hash_weights.h"
#include "tests/common/thread_ranks.h"

namespace sked::test {
namespace {

using Values = std::vector<double>;

/// Parameters of three groups, one within another; a scalar, an empty tensor, and sizes around a piece's 16 Ki.
struct Net {
  std::vector<NamedVar> parameters;

  explicit Net(DType dtype) {
    const std::vector<std::pair<const char*, Shape>> shapes{
        {"a.weight", {130, 129}}, {"head.noise.v", {2, 3}},  {"b.weight", {16384}}, {"empty", {0}}, {"scale", {}},
        {"frozen", {4}},          {"head.noise.w", {7, 11}}, {"c.weight", {20001}}, {"d.bias", {5}}};
    for (const auto& [name, shape] : shapes)
      parameters.push_back({name, Var(hash_tensor(shape, hash_name(name), 2).to(dtype), true)});
    parameters[5].var.set_requires_grad(false);
  }
  void draw_gradients(uint32_t salt) {
    for (NamedVar& p : parameters)
      if (p.var.requires_grad() && p.name != "d.bias")  // has none
        p.var.mutable_grad() = hash_tensor(p.var.shape(), hash_name(p.name) + salt).to(p.var.dtype());
  }
};

const std::vector<double> kRates{1, 1, 0.5, 1, 0.5, 1, 1, 1, 0.5};

/// Parameters and averages after some steps.
std::vector<Values> after_steps(const OptimizerConfig& config, DType dtype, bool together,
                                Communicator& ranks = alone()) {
  Net net(dtype);
  Optimizer optimizer(config, net.parameters, kRates, ranks);
  WeightAverage average(0.9, net.parameters);
  for (uint32_t i = 0; i < 4; ++i) {
    net.draw_gradients(i);
    optimizer.step(0.05, together ? &average : nullptr);
    if (!together) average.update();
  }
  std::vector<Values> all;
  for (const NamedVar& p : net.parameters) all.push_back(p.var.value().to_vector<double>());
  for (const SharedTensor& t : average.state()) all.push_back(t.tensor.to_vector<double>());
  return all;
}

std::vector<std::pair<const char*, OptimizerConfig>> configurations() {
  using enum OptimizerKind;
  return {{"sgd", {.kind = sgd, .momentum = 0, .weight_decay = 0.1}},
          {"momentum", {.kind = sgd, .momentum = 0.9, .weight_decay = 0.1, .noise_lr_scale = 0.3}},
          {"nesterov", {.kind = sgd, .momentum = 0.9, .nesterov = true, .clip_norm = 1, .noise_lr_scale = 0.3}},
          {"adam", {.kind = adam, .weight_decay = 0.1}},
          {"adamw", {.kind = adamw, .weight_decay = 0.1, .clip_norm = 1, .noise_lr_scale = 0.3}}};
}

std::string error_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace

TEST_CASE("weight averages: a step that updates them is a step and an update, bit for bit") {
  for (const auto& [name, config] : configurations()) {
    for (const DType dtype : {DType::f32, DType::f64}) {
      CAPTURE(name);
      CAPTURE(dtype);
      const std::vector<Values> together = after_steps(config, dtype, true);
      CHECK(together == after_steps(config, dtype, false));
      for (const size_t i : {0, 2, 7}) CHECK(together[i] != together[i > 5 ? i + 8 : i + 9]);  // averages are others
    }
  }
}

TEST_CASE("weight averages: ranks that step shares average what was gathered") {
  for (const auto& [name, config] : configurations()) {
    if (config.clip_norm > 0) continue;  // its sum is another with the ranks' number
    CAPTURE(name);
    const std::vector<Values> one = after_steps(config, DType::f32, true);
    OptimizerConfig shares = config;
    shares.shard = true;
    on_ranks(3, [&](Communicator& ranks) { CHECK(after_steps(shares, DType::f32, true, ranks) == one); });
  }
}

TEST_CASE("weight averages: those of other parameters are refused before anything changes") {
  Net net(DType::f32), other(DType::f32);
  Optimizer optimizer({}, net.parameters);
  std::vector<NamedVar> turned = net.parameters;
  std::swap(turned[0], turned[7]);
  WeightAverage fewer(0.9, {net.parameters[0]}), others(0.9, other.parameters), disordered(0.9, turned);
  const Values before = std::as_const(net.parameters[0].var).value().to_vector<double>();
  net.draw_gradients(1);
  CHECK(error_of([&] { optimizer.step(0.1, &fewer); }) ==
        "[weight_average] expected the parameters that are averaged, 1 of them, got 8");
  CHECK(error_of([&] { optimizer.step(0.1, &others); }) ==
        "[weight_average] expected the a.weight that is averaged, got another parameter, a.weight");
  CHECK(error_of([&] { optimizer.step(0.1, &disordered); }) ==
        "[weight_average] expected the c.weight that is averaged, got another parameter, a.weight");
  CHECK(std::as_const(net.parameters[0].var).value().to_vector<double>() == before);
  CHECK(optimizer.state().steps == 0);
}

TEST_CASE("weight averages: a step makes their rounded copies out of date, swapped in or not") {
  const auto right = [](const Tensor& t) {
    return t.read_as(DType::bf16).to_vector<float>() == t.clone().to(DType::bf16).to_vector<float>();
  };
  Net net(DType::f32);
  Optimizer optimizer({}, net.parameters);
  WeightAverage average(0.9, net.parameters);
  for (uint32_t i = 0; i < 4; ++i) {
    CAPTURE(i);
    net.draw_gradients(i);
    optimizer.step(0.05, &average);
    CHECK(right(net.parameters[0].var.value()));
    average.swap();
    CHECK(right(net.parameters[0].var.value()));
    if (i != 2) average.swap();  // once as restore() does
  }
}

TEST_CASE("weight averages: by hand, beside buffers, and their state") {
  using Values = std::vector<float>;
  const Var w(Tensor::from(Values{1, 2}, {2}), true);
  Var writable = w;
  WeightAverage average(0.75, {{"w", w}});
  writable.mutable_value().fill(5);
  average.update();  // 0.75 (1, 2) + 0.25 · 5
  average.swap();
  CHECK(w.value().to_vector<float>() == Values{2, 2.75});
  average.swap();
  CHECK(w.value().to_vector<float>() == Values{5, 5});
  CHECK(average.state()[0].name == "average.w");

  Tensor statistics = Tensor::from(Values{1}, {1});
  WeightAverage beside(0.75, {{"w", w}}, {{"mean", &statistics}});
  statistics.fill(3);
  beside.update();  // both sides keep their own
  beside.swap();
  CHECK(statistics.item() == 1);
  statistics.fill(2);
  beside.swap();
  CHECK(statistics.item() == 3);
  CHECK(beside.state()[1].name == "average.mean");
  CHECK(beside.state()[1].tensor.item() == 2);

  WeightAverage other(0.75, {{"w", w}});
  other.load_state(average.state());
  CHECK(other.state()[0].tensor.to_vector<float>() == Values{2, 2.75});
  CHECK_FALSE(other.state()[0].tensor.shares_storage(average.state()[0].tensor));
  CHECK_THROWS_AS(other.load_state({}), Error);
  CHECK_THROWS_AS(WeightAverage(1, {}), UsageError);
}

}  // namespace sked::test
