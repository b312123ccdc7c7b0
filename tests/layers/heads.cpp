// Heads as a configuration makes them: parameters, temperature, edges, errors.

#include <doctest/doctest.h>

#include <cmath>
#include <functional>

#include "autograd/elementwise.h"
#include "autograd/optimizer.h"
#include "layers/heads/deterministic.h"
#include "tests/common/hash_weights.h"
#include "tests/layers/heads_common.h"

namespace sked::test {
namespace {

std::unique_ptr<Head> head_of(const HeadConfig& config, int64_t width, int64_t classes) {
  Init init(5);
  return make_head(config, width, classes, init);
}

Tensor pre_logits(int64_t rows, int64_t width) { return hash_tensor({rows, width}, hash_name("phi"), 1.5F); }

/// Row sums.
std::vector<double> row_sums(const Tensor& p) {
  std::vector<double> sums(static_cast<size_t>(p.dim(0)), 0);
  const std::vector<double> values = p.to_vector<double>();
  for (size_t i = 0; i < values.size(); ++i) sums[i / static_cast<size_t>(p.dim(1))] += values[i];
  return sums;
}

}  // namespace

TEST_CASE("heads: extra parameters are the formulas of METHOD.md, \"Noise\"") {
  const int64_t d = 10, k = 7, r = 3;
  for (const bool learned : {false, true}) {
    for (const Link link : {Link::softmax, Link::sigmoid}) {
      for (const HeadKind kind : {HeadKind::het, HeadKind::het_xl}) {
        const int64_t j = kind == HeadKind::het ? k : d;
        const auto extra = [&](Factors factors) {
          HeadConfig config = head_config(kind, factors, link);
          config.noise.rank = r;
          config.temperature.learn = learned;
          return head_of(config, d, k)->extra_parameters() - (learned ? 1 : 0);
        };
        CHECK(extra(Factors::full) == j * r * (d + 1) + j * (d + 1));
        CHECK(extra(Factors::efficient) == j * (d + 1) + j * r + j * (d + 1));
        CHECK(extra(Factors::diagonal) == j * (d + 1));
      }
    }
    HeadConfig config = head_config(HeadKind::det, Factors::efficient, Link::softmax);
    config.temperature.learn = learned;
    CHECK(head_of(config, d, k)->extra_parameters() == (learned ? 1 : 0));
    CHECK(head_of(config, d, k)->parameter_count() == k * d + k + (learned ? 1 : 0));
  }
}

TEST_CASE("heads: extra parameters of HET and HET-XL are as K to D") {
  // JFT-4B under a ResNet152, a tenth of each.
  const int64_t d = 204, k = 2959;
  const auto extra = [&](HeadKind kind) {
    HeadConfig config = head_config(kind, Factors::efficient, Link::softmax);
    config.temperature.learn = false;
    return static_cast<double>(head_of(config, d, k)->extra_parameters());
  };
  CHECK(extra(HeadKind::het) / extra(HeadKind::het_xl) == doctest::Approx(static_cast<double>(k) / d).epsilon(1e-12));
}

TEST_CASE("heads: names of parameters") {
  std::vector<std::string> names;
  for (const NamedVar& p :
       head_of(head_config(HeadKind::het_xl, Factors::efficient, Link::softmax), 4, 3)->parameters())
    names.push_back(p.name);
  const std::vector<std::string> want = {"weight",
                                         "bias",
                                         "temperature.t",
                                         "noise.diagonal.weight",
                                         "noise.diagonal.bias",
                                         "noise.factors.weight",
                                         "noise.factors.bias",
                                         "noise.v"};
  CHECK(names == want);
}

TEST_CASE("heads: the classifier's bias starts at bias_init") {
  HeadConfig config = head_config(HeadKind::het, Factors::diagonal, Link::sigmoid);
  config.bias_init = -10;
  for (const NamedVar& p : head_of(config, 4, 3)->parameters())
    if (p.name == "bias")
      for (const float b : p.var.value().to_vector<float>()) CHECK(b == -10);
}

TEST_CASE("heads: a learned temperature starts in the middle, moves, and stays within its bounds") {
  for (const HeadKind kind : {HeadKind::det, HeadKind::het, HeadKind::het_xl}) {
    CAPTURE(kind);
    const std::unique_ptr<Head> head = head_of(head_config(kind, Factors::efficient, Link::softmax), 4, 3);
    CHECK(head->temperature() == doctest::Approx(0.05 + 4.95 / 2));
    Optimizer optimizer({.kind = OptimizerKind::adam}, head->parameters());
    Context context{true, 1, 0, first_examples(6)};
    for (; context.step < 20; ++context.step) {
      head->loss(Var(pre_logits(6, 4)), {hash_labels(6, 3, 1), {}}, context).backward();
      optimizer.step(0.05);
      optimizer.clear_grads();
    }
    CHECK(std::abs(head->temperature() - 2.525) > 0.01);
    CHECK(head->temperature() > 0.05);
    CHECK(head->temperature() < 5);
  }
  HeadConfig fixed = head_config(HeadKind::het, Factors::efficient, Link::softmax);
  fixed.temperature.learn = false;
  fixed.temperature.value = 0.3;
  CHECK(head_of(fixed, 4, 3)->temperature() == 0.3);
  for (const double init : {0.06, 1.0, 4.9}) {
    HeadConfig started = head_config(HeadKind::het, Factors::efficient, Link::softmax);
    started.temperature.init = init;
    CHECK(head_of(started, 4, 3)->temperature() == doctest::Approx(init).epsilon(1e-6));
  }
}

TEST_CASE("heads: predictions are distributions; without samples they are the link of the mean logits") {
  const int64_t rows = 3, width = 4, classes = 5;
  const Tensor phi = pre_logits(rows, width);
  const Context context{false, 2, 0, first_examples(rows)};
  for (const Link link : {Link::softmax, Link::sigmoid}) {
    CAPTURE(link);
    const std::unique_ptr<Head> det = head_of(head_config(HeadKind::det, Factors::efficient, link), width, classes);
    const Tensor want = det->predict(phi, 0, context);
    CHECK(relative_error(det->predict(phi, 100, context), want) == 0);
    for (const HeadKind kind : {HeadKind::het, HeadKind::het_xl}) {
      CAPTURE(kind);
      const std::unique_ptr<Head> head = head_of(head_config(kind, Factors::full, link), width, classes);
      CHECK(relative_error(head->predict(phi, 0, {}), want) == 0);  // the same seed gives both the same classifier
      for (const int64_t samples : {1, 8}) {
        const Tensor p = head->predict(phi, samples, context);
        for (const double v : p.to_vector<double>()) CHECK((v > 0 && v < 1));
        if (link == Link::softmax)
          for (const double s : row_sums(p)) CHECK(s == doctest::Approx(1).epsilon(1e-6));
        Context training = context;
        training.training = true;
        training.step = 99;
        CHECK(relative_error(head->predict(phi, samples, training), p) == 0);  // predictions do not depend on when
      }
      CHECK(head->predict(phi.rows(0, 0), 4, {false, 2, 0, context.examples.rows(0, 0)}).shape() == Shape{0, classes});
    }
  }
}

TEST_CASE("heads: HET and HET-XL with vanishing noise are DET") {
  const int64_t rows = 4, width = 5, classes = 3;
  const Tensor phi = pre_logits(rows, width);
  const Context context{true, 2, 0, first_examples(rows)};
  for (const HeadCase& c : all_head_cases()) {
    if (c.kind == HeadKind::det) continue;
    CAPTURE(c.name());
    const Targets targets = c.targets(hash_labels(rows, classes, 1), Tensor::full({rows, classes}, 1.0 / 3),
                                      Tensor::full({rows, classes}, 0.5));
    const std::unique_ptr<Head> head = head_of(c.config(), width, classes);
    const std::unique_ptr<Head> det = head_of(head_config(HeadKind::det, Factors::efficient, c.link()), width, classes);
    for (NamedVar& p : head->parameters()) {
      if (p.name.starts_with("noise.")) p.var.mutable_value().fill(p.name == "noise.diagonal.bias" ? -100 : 0);
    }
    // d(x) = 1e-3 is left: its effect on a loss is at most its gradient, of order 1, times that
    const double got = head->loss(Var(phi), targets, context).value().item();
    const double want = det->loss(Var(phi), targets, context).value().item();
    CHECK(got == doctest::Approx(want).epsilon(2e-3));
    for (const double s : head->noise_scale(phi).to_vector<double>()) CHECK(s == doctest::Approx(1e-3).epsilon(1e-4));
    for (const double s : det->noise_scale(phi).to_vector<double>()) CHECK(s == 0);
  }
}

TEST_CASE("heads: the classifier's logits, divided by τ, are those of the prediction without noise") {
  const int64_t rows = 4, width = 5, classes = 3;
  const Tensor phi = pre_logits(rows, width);
  for (const HeadCase& c : all_head_cases()) {
    CAPTURE(c.name());
    HeadConfig config = c.config();
    config.temperature.learn = false;
    config.temperature.value = 2;
    const std::unique_ptr<Head> head = head_of(config, width, classes);
    const Tensor logits = head->classifier_logits(phi), p = head->predict(phi, 0, {});
    CHECK(logits.shape() == Shape{rows, classes});
    for (int64_t i = 0; i < rows; ++i) {
      const float *u = logits.data<float>() + i * classes, *got = p.data<float>() + i * classes;
      double sum = 0;
      for (int64_t k = 0; k < classes; ++k) sum += std::exp(u[k] / 2);
      for (int64_t k = 0; k < classes; ++k) {
        const double e = std::exp(u[k] / 2);
        CHECK(got[k] == doctest::Approx(c.link() == Link::softmax ? e / sum : e / (1 + e)).epsilon(1e-6));
      }
    }
  }
}

TEST_CASE("heads: the smallest of everything, and the largest rank") {
  for (const HeadKind kind : {HeadKind::het, HeadKind::het_xl}) {
    for (const Factors factors : {Factors::full, Factors::efficient, Factors::diagonal}) {
      CAPTURE(kind);
      CAPTURE(factors);
      const Context context{true, 2, 0, first_examples(2)};
      const auto finite_loss = [&](HeadConfig config, int64_t width, int64_t classes, double size) {
        const std::unique_ptr<Head> head = head_of(config, width, classes);
        const Var phi(hash_tensor({2, width}, 1, static_cast<float>(size)), true);
        const Var loss = head->loss(phi, {Tensor::from<int64_t>({0, 0}, {2}), {}}, context);
        loss.backward();
        CHECK(std::isfinite(loss.value().item()));
        for (const float g : phi.grad().to_vector<float>()) CHECK(std::isfinite(g));
        for (const NamedVar& p : head->parameters())
          for (const float g : p.var.grad().to_vector<float>()) CHECK(std::isfinite(g));
      };
      for (const double size : {1.0, 1e4}) {
        HeadConfig config = head_config(kind, factors, Link::sigmoid);
        config.noise.rank = 1;
        finite_loss(config, 1, 1, size);  // D = K = R = 1
        config.train_samples = 1;
        finite_loss(config, 3, 1, size);  // S = 1
        config = head_config(kind, factors, Link::softmax);
        config.noise.rank = 4;
        finite_loss(config, 4, 4, size);  // R = J
      }
    }
  }
}

namespace {

std::string message_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const UsageError& e) {
    return std::string("usage: ") + e.what();
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

}  // namespace

TEST_CASE("heads: a wrong configuration is refused by name") {
  const auto refusal = [](const std::function<void(HeadConfig&)>& change, int64_t classes = 10,
                          Link link = Link::softmax) {
    HeadConfig config = head_config(HeadKind::het, Factors::efficient, link);
    change(config);
    return message_of([&] { head_of(config, 32, classes); });
  };
  CHECK(refusal([](HeadConfig&) {}) == "no error");
  CHECK(refusal([](HeadConfig& c) { c.noise.rank = 16; }) ==
        "usage: [head.rank] expected 1 to 10 (number of noisy coordinates), got 16");
  CHECK(refusal([](HeadConfig& c) { c.noise.rank = 0; }) ==
        "usage: [head.rank] expected 1 to 10 (number of noisy coordinates), got 0");
  CHECK(refusal([](HeadConfig& c) { c.kind = HeadKind::het_xl, c.noise.rank = 33; }) ==
        "usage: [head.rank] expected 1 to 32 (number of noisy coordinates), got 33");
  CHECK(refusal([](HeadConfig& c) { c.noise.factors = Factors::diagonal, c.noise.rank = 16; }) == "no error");
  CHECK(refusal([](HeadConfig& c) { c.train_samples = 0; }) ==
        "usage: [head.train_samples] expected 1 to 16777216, got 0");
  CHECK(refusal([](HeadConfig& c) { c.test_samples = -1; }) ==
        "usage: [head.test_samples] expected 0 to 16777216, got -1");
  CHECK(refusal([](HeadConfig& c) { c.test_samples = int64_t{1} << 40; }).starts_with("usage: [head.test_samples]"));
  CHECK(refusal([](HeadConfig& c) { c.test_samples = 0; }) == "no error");
  CHECK(refusal([](HeadConfig& c) { c.sample_chunk = 0; }) == "usage: [head.sample_chunk] expected 1 or more, got 0");
  CHECK(refusal([](HeadConfig& c) { c.temperature.value = 0; }) ==
        "usage: [head.temperature] expected a finite value > 0, got 0");
  CHECK(refusal([](HeadConfig& c) { c.temperature.value = std::nan(""); }).starts_with("usage: [head.temperature]"));
  CHECK(refusal([](HeadConfig& c) { c.temperature.lo = 0; }).starts_with("usage: [head.temperature_lo]"));
  CHECK(refusal([](HeadConfig& c) { c.temperature.lo = 5; }).starts_with("usage: [head.temperature_hi]"));
  CHECK(refusal([](HeadConfig& c) { c.noise.init_scale = -1; }).starts_with("usage: [head.noise_init_scale]"));
  CHECK(refusal([](HeadConfig& c) { c.noise.init = 0.001; }) ==
        "usage: [head.noise_init] expected a finite value > 0.001 (or 0: the bias of d(x) starts at 0), got 0.001");
  CHECK(refusal([](HeadConfig& c) { c.noise.init = INFINITY; }).starts_with("usage: [head.noise_init]"));
  CHECK(refusal([](HeadConfig& c) { c.noise.init = std::nan(""); }).starts_with("usage: [head.noise_init]"));
  CHECK(refusal([](HeadConfig& c) { c.noise.factor_bias = true, c.noise.factors = Factors::full; }) ==
        "usage: [head.factor_bias] expected factors efficient beside it, got full");
  CHECK(refusal([](HeadConfig& c) { c.temperature.init = 5; }) ==
        "usage: [head.temperature_init] expected a value between temperature_lo = 0.05 and temperature_hi = 5 (or 0: "
        "their middle), got 5");
  CHECK(refusal([](HeadConfig& c) { c.temperature.init = 0.01; }).starts_with("usage: [head.temperature_init]"));
  CHECK(refusal([](HeadConfig& c) { c.bias_init = INFINITY; }).starts_with("usage: [head.bias_init]"));
  CHECK(refusal([](HeadConfig&) {}, 1) == "usage: [head.link] expected 2 or more classes for the softmax link, got 1");
  CHECK(refusal([](HeadConfig& c) { c.noise.rank = 1; }, 1, Link::sigmoid) == "no error");
  CHECK(refusal([](HeadConfig&) {}, 0, Link::sigmoid).starts_with("usage: [head.link]"));
}

TEST_CASE("heads: wrong batches are refused") {
  const Tensor labels = Tensor::from<int64_t>({0, 2}, {2}), wrong = Tensor::from<int64_t>({0, 3}, {2});
  const Tensor q = Tensor::full({2, 3}, 1.0 / 3);
  for (const HeadKind kind : {HeadKind::det, HeadKind::het, HeadKind::het_xl}) {
    for (const Link link : {Link::softmax, Link::sigmoid}) {
      CAPTURE(kind);
      CAPTURE(link);
      const std::unique_ptr<Head> head = head_of(head_config(kind, Factors::full, link), 4, 3);
      const auto refusal = [&](const Targets& targets, int64_t width = 4) {
        return message_of([&] { head->loss(Var(pre_logits(2, width)), targets, {true, 1, 0, first_examples(2)}); });
      };
      CHECK(refusal({labels, {}}) == "no error");
      CHECK(refusal({{}, q}) == "no error");
      CHECK(refusal({wrong, {}}).find("got 3") != std::string::npos);
      CHECK(refusal({{}, {}}) == "[loss] expected labels or distributions, got neither");
      CHECK(refusal({labels, q}) == "[loss] expected labels or distributions, got both");
      CHECK(refusal({labels.rows(0, 1), {}}) == "[loss] expected labels (2) i64, got (1) i64 on cpu");
      CHECK(refusal({{}, q.rows(0, 1)}) == "[loss] expected distributions (2, 3) f32, got (1, 3) f32 on cpu");
      CHECK(refusal({labels, {}}, 5) == "[head] expected pre-logits (B, 4) f32, got (2, 5) f32 on cpu");
      for (const double share : {-0.1, 1.5, std::nan("")})
        CHECK(refusal({{}, Tensor::full({2, 3}, share)})
                  .starts_with("[loss] expected distributions of numbers in [0, 1]"));
      for (const DType other : {DType::bf16, DType::f64}) {
        const Var phi(pre_logits(2, 4).to(other));
        const Context context{true, 1, 0, first_examples(2)};
        CHECK(message_of([&] {
                head->loss(phi, {labels, {}}, context);
              }).starts_with("[head] expected pre-logits (B, 4) f32"));
      }
      CHECK(message_of([&] { head->noise_scale(pre_logits(2, 5)); }).starts_with("[head] expected pre-logits"));
      CHECK(message_of([&] { head->classifier_logits(pre_logits(2, 5)); }).starts_with("[head] expected pre-logits"));
      CHECK(message_of([&] { head->predict(pre_logits(2, 4), -1, {}); }) ==
            "[head] expected 0 or more samples, got -1");
    }
  }
  const std::unique_ptr<Head> head = head_of(head_config(HeadKind::het, Factors::full, Link::softmax), 4, 3);
  CHECK(message_of([&] { head->predict(pre_logits(2, 4), 3, {}); }).starts_with("[head] expected the global index"));
  const Context three{.examples = first_examples(3)};
  CHECK(message_of([&] { head->predict(pre_logits(2, 4), 3, three); }).starts_with("[head] expected the global index"));
}

}  // namespace sked::test
