// Optimizers against PyTorch's trajectories (tests/fixtures/optimizers.py), their state, and schedules.

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "autograd/elementwise.h"
#include "autograd/optimizer.h"
#include "autograd/reduce.h"
#include "autograd/schedule.h"
#include "core/names.h"
#include "core/safetensors.h"
#include "tests/common/hash_weights.h"

namespace sked::test {

namespace {

constexpr double kRate = 0.05;
constexpr int kSteps = 10;

std::vector<NamedVar> values(const std::string& prefix, DType dtype, bool requires_grad, bool noise = false) {
  std::vector<NamedVar> vars;
  std::vector<std::pair<std::string, Shape>> shapes{{"weight", {3, 4}}, {"bias", {4}}};
  if (noise) shapes.emplace_back("head.noise.v", Shape{2, 3});
  for (const auto& [name, shape] : shapes) {
    vars.push_back({name, Var(hash_tensor(shape, hash_name(prefix + name), 1.5F).to(dtype), requires_grad)});
  }
  return vars;
}

/// Σ (p − target)⁴ / 4 + Σ_ij weight_ij bias_j
Var loss_of(const std::vector<NamedVar>& p, const std::vector<NamedVar>& target) {
  Var loss = sum(p[0].var * p[1].var);
  for (size_t i = 0; i < p.size(); ++i) loss = loss + sum(square(square(p[i].var - target[i].var))) * 0.25;
  return loss;
}

/// One step; returns what Optimizer::step does.
double advance(Optimizer& optimizer, const std::vector<NamedVar>& p, double lr = kRate) {
  optimizer.clear_grads();
  loss_of(p, values("target.", p[0].var.dtype(), false, p.size() > 2)).backward();
  const Tensor norm = optimizer.step(lr);
  return norm.defined() ? norm.item() : 0;
}

double worst(const Tensor& got, const Tensor& expected) {
  const std::vector<double> g = got.to_vector<double>(), e = expected.to_vector<double>();
  REQUIRE(g.size() == e.size());
  double error = 0;
  for (size_t i = 0; i < g.size(); ++i) error = std::max(error, std::abs(g[i] - e[i]));
  return error;
}

void follow(const std::string& name, const OptimizerConfig& config, DType dtype, double tolerance) {
  CAPTURE(name);
  const TensorFile file = load_safetensors("tests/fixtures/optimizers.safetensors");
  const std::vector<NamedVar> p = values("start.", dtype, true, name.ends_with("/noise"));
  Optimizer optimizer(config, p);
  for (int step = 0; step < kSteps; ++step) {
    const double norm = advance(optimizer, p);
    if (config.clip_norm > 0) {
      const double expected = file.at(name + "/norm").to_vector<double>()[static_cast<size_t>(step)];
      CHECK(norm == doctest::Approx(expected).epsilon(tolerance));
    } else {
      CHECK(norm == 0);
    }
    for (const NamedVar& parameter : p) {
      const double error = worst(parameter.var.value(), file.at(name + "/" + parameter.name).rows(step, step + 1));
      CHECK_MESSAGE(error <= tolerance, parameter.name << " after step " << step << ": error " << error);
    }
  }
}

std::string error_of(const OptimizerConfig& config) {
  try {
    Optimizer(config, {});
  } catch (const UsageError& error) {
    return error.what();
  }
  return "no error";
}

using Values = std::vector<float>;

}  // namespace

TEST_CASE("ten steps as PyTorch takes them") {
  const auto both = [](const std::string& name, const OptimizerConfig& config) {
    follow(name, config, DType::f64, 1e-12);  // rounding of ten steps on numbers near 1
    follow(name, config, DType::f32, 2e-5);   // the same in f32; gradients reach 30
  };
  both("sgd", {.kind = OptimizerKind::sgd, .momentum = 0});
  both("sgd/momentum", {.kind = OptimizerKind::sgd, .momentum = 0.9});
  both("sgd/nesterov_decay", {.kind = OptimizerKind::sgd, .momentum = 0.9, .nesterov = true, .weight_decay = 0.1});
  both("sgd/clipped", {.kind = OptimizerKind::sgd, .momentum = 0.9, .weight_decay = 0.1, .clip_norm = 1});
  both("adam", {.kind = OptimizerKind::adam});
  both("adam/decay", {.kind = OptimizerKind::adam, .beta1 = 0.8, .beta2 = 0.95, .eps = 1e-6, .weight_decay = 0.1});
  both("adamw", {.kind = OptimizerKind::adamw, .weight_decay = 0.1});
  both("adamw/clipped", {.kind = OptimizerKind::adamw, .weight_decay = 0.1, .clip_norm = 1});
}

TEST_CASE("the covariance layers as a parameter group of PyTorch's, for every optimizer") {
  OptimizerConfig config{.weight_decay = 0.1, .noise_lr_scale = 0.3, .noise_weight_decay = 0.5};
  const auto both = [&](OptimizerKind kind, double clip_norm) {
    config.kind = kind, config.clip_norm = clip_norm;
    follow(name_of(kind) + "/noise", config, DType::f64, 1e-12);
    follow(name_of(kind) + "/noise", config, DType::f32, 2e-5);
  };
  both(OptimizerKind::sgd, 0);
  both(OptimizerKind::adam, 0);
  both(OptimizerKind::adamw, 1);

  const auto is = [](const std::string& name) { return of_noise({name, Var(Tensor::zeros({1}), true)}); };
  CHECK(is("head.noise.diagonal.bias"));
  CHECK(is("noise.v"));
  CHECK_FALSE(is("head.weight"));
  CHECK_FALSE(is("blocks.0.denoise.weight"));
}

TEST_CASE("covariance layers without values of their own step as the rest, bit for bit, and a scale of 0 holds them") {
  for (const OptimizerKind kind : {OptimizerKind::sgd, OptimizerKind::adam, OptimizerKind::adamw}) {
    CAPTURE(name_of(kind));
    const auto after = [&](const OptimizerConfig& config) {
      const std::vector<NamedVar> p = values("start.", DType::f32, true, true);
      Optimizer optimizer(config, p);
      for (int i = 0; i < 3; ++i) advance(optimizer, p);
      std::vector<Values> all;
      for (const NamedVar& parameter : p) all.push_back(parameter.var.value().to_vector<float>());
      return all;
    };
    const OptimizerConfig plain{.kind = kind, .weight_decay = 0.1, .clip_norm = 2};
    OptimizerConfig same = plain, held = plain;
    same.noise_weight_decay = 0.1;
    held.noise_lr_scale = 0;
    const std::vector<Values> expected = after(plain);
    CHECK(after(same) == expected);
    const std::vector<Values> frozen = after(held);
    CHECK(frozen[2] == values("start.", DType::f32, true, true)[2].var.value().to_vector<float>());
    CHECK(frozen[2] != expected[2]);
  }
}

TEST_CASE("weight decay is for matrices and filters only") {
  const auto of = [](const std::string& name, Shape shape) { return decays({name, Var(Tensor::zeros(shape), true)}); };
  CHECK(of("blocks.0.attn.qkv.weight", {6, 2}));
  CHECK(of("conv1.weight", {2, 3, 3, 3}));
  CHECK_FALSE(of("norm.weight", {6}));
  CHECK_FALSE(of("temperature", {}));
  CHECK_FALSE(of("pos_embed", {1, 4, 6}));
  CHECK_FALSE(of("text.pos_embed", {1, 4, 6}));
  CHECK_FALSE(of("cls_token", {1, 1, 6}));
  CHECK_FALSE(of("reg_token", {1, 4, 6}));
}

TEST_CASE("an optimizer resumed from its state goes on bit for bit") {
  for (const OptimizerKind kind : {OptimizerKind::sgd, OptimizerKind::adam, OptimizerKind::adamw}) {
    CAPTURE(name_of(kind));
    const OptimizerConfig config{.kind = kind, .weight_decay = 0.1, .clip_norm = 2};
    const std::vector<NamedVar> p = values("start.", DType::f32, true);
    Optimizer first(config, p);
    for (int i = 0; i < 3; ++i) advance(first, p);

    std::vector<NamedVar> copy;
    for (const NamedVar& parameter : p) copy.push_back({parameter.name, Var(parameter.var.value().clone(), true)});
    Optimizer::State state = first.state();
    for (SharedTensor& t : state.tensors) t.tensor = t.tensor.clone();
    Optimizer second(config, copy);
    second.load_state(state);
    for (int i = 0; i < 3; ++i) {
      advance(first, p);
      advance(second, copy);
    }
    for (size_t i = 0; i < p.size(); ++i)
      CHECK(p[i].var.value().to_vector<float>() == copy[i].var.value().to_vector<float>());
    CHECK(second.state().steps == 6);
  }
}

TEST_CASE("state: names, and what does not fit is refused whole") {
  const std::vector<NamedVar> p = values("start.", DType::f32, true);
  Optimizer sgd({.kind = OptimizerKind::sgd, .momentum = 0.9}, p), adam({.kind = OptimizerKind::adam}, p);
  CHECK(sgd.state().tensors[0].name == "momentum.weight");
  REQUIRE(adam.state().tensors.size() == 4);
  CHECK(adam.state().tensors[1].name == "m.bias");
  CHECK(adam.state().tensors[2].name == "v.weight");
  CHECK(Optimizer({.kind = OptimizerKind::sgd, .momentum = 0}, p).state().tensors.empty());

  CHECK_THROWS_WITH_AS(adam.load_state(sgd.state()), "[optimizer] expected state for m.weight, got none", Error);
  Optimizer::State extra = sgd.state();
  extra.tensors.emplace_back("momentum.other", Tensor::zeros({1}));
  CHECK_THROWS_WITH_AS(sgd.load_state(extra), "[optimizer] expected state of 2 tensors, got 3", Error);
  Optimizer::State wrong = sgd.state();
  wrong.tensors[0].tensor = Tensor::full({3, 4}, 5);
  wrong.tensors[1].tensor = Tensor::zeros({5});
  CHECK_THROWS_AS(sgd.load_state(wrong), Error);
  CHECK(sgd.state().tensors[0].tensor.to_vector<float>() == Values(12, 0.0F));
}

TEST_CASE("frozen parameters stay, missing gradients count as zero") {
  std::vector<NamedVar> p = values("start.", DType::f32, true);
  p[1].var.set_requires_grad(false);
  const Values frozen = p[1].var.value().to_vector<float>(), start = p[0].var.value().to_vector<float>();
  Optimizer optimizer({.kind = OptimizerKind::sgd, .momentum = 0, .weight_decay = 0.5}, p);
  optimizer.step(0.5);  // no gradient at all: decay alone
  CHECK(p[1].var.value().to_vector<float>() == frozen);
  const Values after = p[0].var.value().to_vector<float>();
  for (size_t i = 0; i < after.size(); ++i) CHECK(after[i] == doctest::Approx(0.75 * start[i]));
  CHECK_FALSE(Optimizer({.kind = OptimizerKind::adam, .clip_norm = 1}, {}).step(0.1).defined());
}

TEST_CASE("configurations out of range are usage errors that name the key") {
  CHECK(error_of({.momentum = 1}) == "[optimizer] expected 0 <= momentum < 1, got 1");
  CHECK(error_of({.momentum = 0, .nesterov = true}).find("nesterov") != std::string::npos);
  CHECK(error_of({.kind = OptimizerKind::adam, .beta1 = -0.1}).find("beta1") != std::string::npos);
  CHECK(error_of({.kind = OptimizerKind::adam, .beta2 = 1.5}).find("beta2") != std::string::npos);
  CHECK(error_of({.kind = OptimizerKind::adam, .eps = 0}).find("eps") != std::string::npos);
  CHECK(error_of({.weight_decay = -1}).find("weight_decay") != std::string::npos);
  CHECK(error_of({.clip_norm = NAN}).find("clip_norm") != std::string::npos);
  CHECK(error_of({.noise_lr_scale = -1}) == "[optimizer] expected noise_lr_scale >= 0, got -1");
  CHECK(error_of({.noise_weight_decay = -2}).find("noise_weight_decay") != std::string::npos);
}

TEST_CASE("an optimizer takes each parameter once, and finite learning rates") {
  const Var w(Tensor::full({2}, 1), true);
  const auto message = [](const std::function<void()>& f) -> std::string {
    try {
      f();
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  CHECK(message([&] {
          Optimizer({}, {{"w", w}, {"other", w}});
        }) == "[optimizer] expected each parameter once, got other again");
  Optimizer optimizer({}, {{"w", w}});
  for (const double lr : {double{NAN}, double{INFINITY}})
    CHECK(message([&] { optimizer.step(lr); }).starts_with("[optimizer] expected a finite learning rate"));
  for (const float v : w.value().to_vector<float>()) CHECK(v == 1);
}

TEST_CASE("schedules") {
  const Schedule constant{.kind = ScheduleKind::constant, .peak = 0.5, .warmup = 4, .total = 10};
  CHECK(constant.at(0) == 0.125);
  CHECK(constant.at(3) == 0.5);
  CHECK(constant.at(99) == 0.5);
  const Schedule linear{.kind = ScheduleKind::linear, .peak = 1, .floor = 0.2, .warmup = 2, .total = 10};
  CHECK(linear.at(1) == 1);
  CHECK(linear.at(2) == 1);
  CHECK(linear.at(6) == doctest::Approx(0.6));
  CHECK(linear.at(10) == doctest::Approx(0.2));
  CHECK(linear.at(50) == doctest::Approx(0.2));
  const Schedule cosine{.kind = ScheduleKind::cosine, .peak = 2, .total = 8};
  CHECK(cosine.at(0) == 2);
  CHECK(cosine.at(2) == doctest::Approx(1 + std::cos(std::numbers::pi / 4)));
  CHECK(cosine.at(4) == doctest::Approx(1));
  CHECK(std::abs(cosine.at(8)) < 1e-15);
  CHECK(Schedule{.warmup = 5, .total = 3}.at(4) == 0.1);  // all warm-up

  const Schedule trapezoid{.kind = ScheduleKind::constant, .peak = 0.5, .total = 10, .cooldown = 4};
  CHECK(trapezoid.at(6) == 0.5);
  CHECK(trapezoid.at(9) == 0.125);
  CHECK(trapezoid.at(10) == 0);
  CHECK(trapezoid.at(99) == 0);
  CHECK(Schedule{.kind = ScheduleKind::rsqrt, .peak = 1, .floor = 0.5, .total = 10, .timescale = 4}.at(12) == 0.75);

  CHECK_THROWS_AS((Schedule{.timescale = 0}.at(0)), UsageError);
  CHECK_THROWS_AS((Schedule{.cooldown = -1}.at(0)), UsageError);
  CHECK_THROWS_AS((Schedule{.total = 0}.at(0)), UsageError);
  CHECK_THROWS_AS((Schedule{.floor = 2}.at(0)), UsageError);
  CHECK_THROWS_AS((Schedule{.peak = NAN}.at(0)), UsageError);
  CHECK_THROWS_AS(Schedule{}.at(-1), Error);
}

TEST_CASE("rsqrt with a cooldown is big_vision's, but for a warm-up that is a step ahead") {
  const TensorFile file = load_safetensors("tests/fixtures/optimizers.safetensors");
  struct Case {
    std::string name;
    Schedule schedule;
  };
  const auto schedule = [](int64_t warmup, double timescale, int64_t cooldown) {
    return Schedule{.kind = ScheduleKind::rsqrt,
                    .peak = 0.8,
                    .warmup = warmup,
                    .total = 40,
                    .timescale = timescale,
                    .cooldown = cooldown};
  };
  for (const auto& [name, s] : {Case{"0-10-0", schedule(0, 10, 0)}, Case{"5-7.5-0", schedule(5, 7.5, 0)},
                                Case{"5-20-12", schedule(5, 20, 12)}, Case{"0-100-40", schedule(0, 100, 40)}}) {
    CAPTURE(name);
    const std::vector<double> expected = file.at("schedule/rsqrt/" + name).to_vector<double>();
    REQUIRE(expected.size() == 41);
    for (int64_t step = 0; step <= 40; ++step) {
      CAPTURE(step);
      const int64_t theirs = step < s.warmup ? step + 1 : step;
      CHECK(std::abs(s.at(step) - expected[static_cast<size_t>(theirs)]) < 1e-15);
    }
  }
}

}  // namespace sked::test
