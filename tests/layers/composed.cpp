// The composed form of the Monte Carlo likelihood: chunks, memory, extremes.

#include "layers/heads/composed.h"

#include <doctest/doctest.h>

#include <cmath>

#include "autograd/elementwise.h"
#include "autograd/reduce.h"
#include "autograd/softmax.h"
#include "core/allocator.h"
#include "tests/common/files.h"
#include "tests/common/hash_weights.h"
#include "tests/layers/heads_common.h"
#include "tests/layers/sampled_logits.h"

namespace sked::test {
namespace {

/// The mean loss of samples of logits (B,S,K) that are simply given.
Var loss_of(Link link, const Var& a, const Targets& targets) {
  return mean(negative_log_likelihood(link, logmeanexp(log_probabilities(link, a, targets), 1), targets));
}

struct LossAndGradients {
  double loss;
  std::vector<Tensor> gradients;  // of φ, then of the parameters
};

LossAndGradients evaluate(Head& head, const Tensor& phi_value, const Targets& targets, const Context& context) {
  for (NamedVar& p : head.parameters()) p.var.clear_grad();
  const Var phi(phi_value, true);
  const Var loss = head.loss(phi, targets, context);
  loss.backward();
  LossAndGradients result{loss.value().item(), {phi.grad().clone()}};
  for (const NamedVar& p : head.parameters()) result.gradients.push_back(p.var.grad().clone());
  return result;
}

std::unique_ptr<Head> head_of(const HeadConfig& config, int64_t width, int64_t classes) {
  Init init(5);
  return make_head(config, width, classes, init);
}

/// wa a + wb b: how the means over two parts of a batch make the mean over all of it.
Tensor weighted_sum(const Tensor& a, double wa, const Tensor& b, double wb) {
  return (Var(a) * wa + Var(b) * wb).value();
}

}  // namespace

TEST_CASE("composed likelihood: the same loss and gradients for every chunk size and for a batch split in two") {
  const int64_t rows = 5, width = 6, classes = 4;
  const Tensor phi = hash_tensor({rows, width}, hash_name("phi"), 1.5F);
  const Tensor labels = hash_labels(rows, classes, 3);
  const Tensor distributions = Tensor::full({rows, classes}, 0.25),
               multi_label = hash_tensor({rows, classes}, 8, 0.5F, 0.5F);
  for (const HeadCase& c : all_head_cases()) {
    if (c.kind == HeadKind::det) continue;
    CAPTURE(c.name());
    const Targets targets = c.targets(labels, distributions, multi_label);
    const Context context{true, 3, 8, first_examples(rows)};
    HeadConfig config = c.config();
    config.likelihood = Likelihood::composed;
    config.sample_chunk = config.train_samples;  // one chunk: plain autograd
    const LossAndGradients want = evaluate(*head_of(config, width, classes), phi, targets, context);
    const Tensor p = head_of(config, width, classes)->predict(phi, 12, context);
    for (const int64_t chunk : {1, 7, 0}) {
      if (chunk == 0) config.likelihood = Likelihood::streaming;
      if (chunk > 0) config.sample_chunk = chunk;
      const LossAndGradients got = evaluate(*head_of(config, width, classes), phi, targets, context);
      CHECK(got.loss == doctest::Approx(want.loss).epsilon(1e-6));
      for (size_t i = 0; i < want.gradients.size(); ++i)
        CHECK(relative_error(got.gradients[i], want.gradients[i]) <= 1e-5);
      CHECK(relative_error(head_of(config, width, classes)->predict(phi, 12, context), p) <= 1e-6);
    }
    const auto part = [&](int64_t begin, int64_t end) {
      const Targets cut =
          c.targets(labels.rows(begin, end), distributions.rows(begin, end), multi_label.rows(begin, end));
      return evaluate(*head_of(config, width, classes), phi.rows(begin, end), cut,
                      {true, 3, 8, context.examples.rows(begin, end)});
    };
    const LossAndGradients a = part(0, 2), b = part(2, 5);
    CHECK(0.4 * a.loss + 0.6 * b.loss == doctest::Approx(want.loss).epsilon(1e-6));
    for (size_t i = 1; i < want.gradients.size(); ++i)
      CHECK(relative_error(weighted_sum(a.gradients[i], 0.4, b.gradients[i], 0.6), want.gradients[i]) <= 1e-5);
  }
}

TEST_CASE("composed likelihood: an average of probabilities, not of logits") {
  // Two samples of two logits, ±2: the averaged logits say 1/2 each, and so do the averaged probabilities; with a third
  // sample at 6 the two averages part.
  const Tensor a = Tensor::from<float>({2, 0, -2, 0, 6, 0}, {1, 3, 2});
  const auto sigma = [](double x) { return 1 / (1 + std::exp(-x)); };
  const double want = (sigma(2) + sigma(-2) + sigma(6)) / 3;
  const Var loss = loss_of(Link::softmax, Var(a), {Tensor::from<int64_t>({0}, {1}), {}});
  CHECK(loss.value().item() == doctest::Approx(-std::log(want)).epsilon(1e-6));
  CHECK(std::abs(sigma(2) - want) > 0.1);  // what averaging the logits would have given
}

TEST_CASE("composed likelihood: logits of ±1e4 give finite losses and gradients, in the log domain") {
  const Tensor a = Tensor::from<float>({1e4F, -1e4F, 0, 1e4F, 1e4F, -1e4F}, {2, 3, 1}).reshape({1, 2, 3});
  const Tensor q = Tensor::from<float>({0, 1, 0}, {1, 3});
  // Softmax: log p_1 of the samples (1e4, −1e4, 0) and (1e4, 1e4, −1e4) is −2e4 and −log 2, so L = log 2 + log 2.
  for (const Targets& targets : {Targets{Tensor::from<int64_t>({1}, {1}), {}}, Targets{{}, q}}) {
    const Var x(a, true);
    const Var loss = loss_of(Link::softmax, x, targets);
    CHECK(loss.value().item() == doctest::Approx(2 * std::log(2)).epsilon(1e-6));
    loss.backward();
    // All weight is on the second sample: softmax − one-hot there, 0 in the first.
    const std::vector<float> g = x.grad().to_vector<float>(), want = {0, 0, 0, 0.5F, -0.5F, 0};
    for (size_t i = 0; i < g.size(); ++i) CHECK(g[i] == doctest::Approx(want[i]).epsilon(1e-6));
  }
  // Sigmoid, t = (0, 1, 0): −log(1−p_0) = 1e4, since both samples say p = 1; −log p_1 = log 2; −log(1−p_2) is of 1/2
  // and 1.
  const Var x(a, true);
  const Var loss = loss_of(Link::sigmoid, x, {{}, q});
  CHECK(loss.value().item() == doctest::Approx(1e4 + std::log(2.0) - std::log(0.75)).epsilon(1e-6));
  loss.backward();
  for (const float g : x.grad().to_vector<float>()) CHECK(std::isfinite(g));
  // The weight exp(x_s − y) inherits the rounding of y = −1e4, half an ulp of which is 5e-4.
  CHECK(x.grad().to_vector<float>()[0] == doctest::Approx(0.5).epsilon(1e-3));
}

TEST_CASE("composed likelihood: logits of ±1e4 give the same whatever the chunk") {
  for (const bool antithetic : {false, true}) {
    const Problem p{.B = 4, .S = 8, .D = 5, .K = 12, .R = 2, .antithetic = antithetic, .size = 1e4F};
    TensorList wide;  // in float64, where logits carry rounding errors of 1e-12
    for (const Tensor& t : values(p)) wide.push_back(t.to(DType::f64));
    const Targets labels{hash_labels(p.B, p.K, 7), {}}, q{{}, hash_tensor({p.B, p.K}, 9, 0.5F, 0.5F)};
    for (const Link link : {Link::softmax, Link::sigmoid}) {
      for (const Targets& targets : {labels, q}) {
        const std::vector<Var> x = leaves(wide);
        const Result want = run(x, composed_loss(link, logits_of(p, x), targets, p.S));
        const Tensor probabilities = composed_predict(link, logits_of(p, x), p.S);
        CHECK(std::isfinite(want.loss));
        for (const int64_t chunk : {1, 3, 7}) {
          CAPTURE(chunk);
          const std::vector<Var> y = leaves(wide);
          check_same(run(y, composed_loss(link, logits_of(p, y), targets, chunk)), want, 1e-9);
          CHECK(relative_error(composed_predict(link, logits_of(p, y), chunk), probabilities) <= 1e-12);
        }
      }
    }
  }
}

TEST_CASE("composed likelihood: any chunk from 1 on, and no other") {
  const int64_t rows = 3, width = 4, classes = 3;
  const Tensor phi = hash_tensor({rows, width}, 1), labels = hash_labels(rows, classes, 2);
  const Context context{true, 1, 0, first_examples(rows)};
  HeadConfig config = head_config(HeadKind::het_xl, Factors::efficient, Link::softmax);
  config.likelihood = Likelihood::composed;
  config.noise.antithetic = true;
  config.train_samples = 5;
  config.sample_chunk = 6;
  const double want = evaluate(*head_of(config, width, classes), phi, {labels, {}}, context).loss;
  config.sample_chunk = INT64_MAX;
  CHECK(evaluate(*head_of(config, width, classes), phi, {labels, {}}, context).loss == want);
  SampledLogits a;
  a.center = Var(phi), a.weight = Var(hash_tensor({classes, width}, 3)), a.samples = 1;
  for (const int64_t chunk : {0, -1}) {
    CHECK(one_line_with(error_of([&] {
                          composed_loss(Link::softmax, a, {labels, {}}, chunk);
                        }),
                        "a chunk of 1 or more"));
    CHECK(one_line_with(error_of([&] { composed_predict(Link::softmax, a, chunk); }), "a chunk of 1 or more"));
  }
}

TEST_CASE("composed likelihood: memory grows with the chunk, not with S") {
  const int64_t rows = 64, width = 8, classes = 1000;
  const Tensor phi = hash_tensor({rows, width}, 1), labels = hash_labels(rows, classes, 2);
  const Context context{true, 1, 0, first_examples(rows)};
  const auto peak = [&](HeadKind kind, int64_t samples, int64_t chunk) {
    HeadConfig config = head_config(kind, Factors::efficient, Link::softmax);
    config.likelihood = Likelihood::composed;
    config.train_samples = samples;
    config.sample_chunk = chunk;
    const std::unique_ptr<Head> head = head_of(config, width, classes);
    CachingAllocator& memory = allocator(Device::cpu);
    memory.reset_peak();
    const size_t before = memory.stats().live;
    evaluate(*head, phi, {labels, {}}, context);
    return static_cast<double>(memory.stats().peak - before);
  };
  const double one_sample = rows * classes * 4;  // bytes of the logits of one sample
  for (const HeadKind kind : {HeadKind::het, HeadKind::het_xl}) {
    CAPTURE(kind);
    const double few = peak(kind, 16, 2), many = peak(kind, 256, 2), wide = peak(kind, 16, 4);
    CHECK(many <= 1.05 * few);
    CHECK(wide >= 1.3 * few);
    CHECK(wide <= 2.1 * few);
    CHECK(many < 0.2 * 256 * one_sample);  // the tensor of all sampled logits never exists
  }
}

}  // namespace sked::test
