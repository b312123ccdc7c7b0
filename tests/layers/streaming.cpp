// The streaming likelihood against the composition of ops it replaces: every factor form, link and target, over sizes
// that no tile divides.

#include "layers/heads/streaming.h"
#include "layers/heads/logit_tiles.h"

#include <doctest/doctest.h>
#include <omp.h>

#include <cmath>

#include "autograd/gradcheck.h"
#include "autograd/reduce.h"
#include "core/allocator.h"
#include "layers/heads/composed.h"
#include "tests/common/files.h"
#include "tests/common/hash_weights.h"
#include "tests/common/in_bf16.h"
#include "tests/layers/heads_common.h"
#include "tests/layers/sampled_logits.h"

namespace sked::test {
namespace {

const std::vector<TileSize> kTiles = {{0, 0}, {2, 4}, {4, 64}, {1000, 1000}};

std::string describe(const Problem& p, const Target& t, TileSize tile) {
  std::ostringstream out;
  out << "B" << p.B << " S" << p.S << " D" << p.D << " K" << p.K << " R" << p.R << (p.full ? " full" : "")
      << (p.shared_diagonal ? " shared" : "") << (p.classifier ? " het-xl " : " het ") << t.name << " tile "
      << tile.samples << "x" << tile.classes;
  return out.str();
}

}  // namespace

TEST_CASE("streaming likelihood: loss, gradients and predictions of the composition, whatever the tiles") {
  for (const Problem& p : streaming_grid()) {
    for (const Target& target : all_targets(p.B, p.K)) {
      const std::vector<Var> x = leaves(values(p));
      const Result want = run(x, composed_loss(target.link(), logits_of(p, x), target.targets, p.S));
      const Tensor probabilities = composed_predict(target.link(), logits_of(p, x), p.S);
      for (const TileSize tile : kTiles) {
        if (p.B * p.S * p.K > 100000 && tile.samples == 2) continue;  // many tiny tiles: slow, and nothing new
        CAPTURE(describe(p, target, tile));
        const std::vector<Var> y = leaves(values(p));
        // Logits of 1e4 carry rounding errors of 1e-3, which the gradients of either side inherit.
        check_same(run(y, mean(target.streaming(logits_of(p, y), tile))), want, p.size > 1 ? 2e-3 : 1e-5);
        const Tensor got = streaming_predict(target.link(), logits_of(p, y), tile);
        CHECK(relative_error(got, probabilities) <= (p.size > 1 ? 2e-3 : 1e-5));
      }
    }
  }
}

TEST_CASE("streaming likelihood: logits of ±1e4 agree with the composition in float64 as well as it does itself") {
  const Problem p{.B = 4, .S = 8, .D = 5, .K = 12, .R = 2, .size = 1e4F};
  for (const Target& target : all_targets(p.B, p.K)) {
    CAPTURE(target.name);
    TensorList wide;
    for (const Tensor& t : values(p)) wide.push_back(t.defined() ? t.to(DType::f64) : t);
    const std::vector<Var> x = leaves(wide), y = leaves(wide);
    const Result want = run(x, composed_loss(target.link(), logits_of(p, x), target.targets, p.S));
    const Result got = run(y, mean(target.streaming(logits_of(p, y), {2, 4})));
    CHECK(std::isfinite(got.loss));
    check_same(got, want, 1e-9);
  }
}

TEST_CASE("streaming likelihood: with products in bf16 loss and gradients are f32's within its rounding") {
  if (!offers(Device::cpu, Precision::bf16)) return skip("likelihood in bf16: this processor has no instructions");
  for (const Problem& p : {Problem{.B = 20, .S = 30, .D = 17, .K = 301, .R = 3},
                           Problem{.B = 16, .S = 12, .D = 128, .K = 200, .R = 4, .antithetic = true},
                           Problem{.B = 8, .S = 10, .D = 1, .K = 150, .R = 5, .classifier = false}}) {
    for (const Target& target : all_targets(p.B, p.K)) {
      CAPTURE(describe(p, target, {}));
      const std::vector<Var> x = leaves(values(p)), y = leaves(values(p));
      const Result want = run(x, mean(target.streaming(logits_of(p, x), {})));
      const InBf16 on;
      const Result got = run(y, mean(target.streaming(logits_of(p, y), {})));
      CHECK(got.loss != want.loss);
      // A product is off by 2^-8 of itself at most, a logit of 128 of them (each of size 1/3) by 0.015 or so, and
      // softmax weights by what the logits are off; observed 0.0153.
      check_same(got, want, 3e-2);
    }
  }
}

TEST_CASE("streaming likelihood: gradcheck in float64") {
  for (Problem p : streaming_grid()) {
    if (p.size > 1 || p.B * p.S * p.K > 600) continue;
    TensorList inputs;
    for (const Tensor& t : values(p))
      if (t.defined()) inputs.push_back(t.to(DType::f64));
    for (const Target& target : all_targets(p.B, p.K)) {
      CAPTURE(describe(p, target, {2, 8}));
      const auto f = [&](const std::vector<Var>& in) {
        std::vector<Var> x;
        size_t next = 0;
        for (const Tensor& t : values(p)) x.push_back(t.defined() ? in[next++] : Var());
        return target.streaming(logits_of(p, x), {2, 8});
      };
      const GradcheckResult result = gradcheck(f, inputs);
      CHECK_MESSAGE(result.ok, result.message);
    }
  }
}

TEST_CASE("streaming likelihood: a batch split in two and another number of threads draw the same noise") {
  const Problem p{.B = 6, .S = 5, .D = 7, .K = 30, .R = 2};
  const Target target = all_targets(p.B, p.K)[0];
  const std::vector<Var> x = leaves(values(p));
  const std::vector<double> whole = target.streaming(logits_of(p, x), {2, 8}).value().to_vector<double>();
  const int threads = omp_get_max_threads();
  omp_set_num_threads(3);
  CHECK(target.streaming(logits_of(p, x), {2, 8}).value().to_vector<double>() == whole);
  omp_set_num_threads(threads);
  for (const auto& [begin, end] : {std::pair<int64_t, int64_t>{0, 2}, {2, 6}}) {
    std::vector<Var> part = x;
    for (size_t i = 0; i < 3; ++i) part[i] = Var(x[i].value().rows(begin, end));
    const Targets cut{target.targets.labels.rows(begin, end), {}};
    const std::vector<double> losses =
        Target{"labels", cut}.streaming(logits_of(p, part, begin), {}).value().to_vector<double>();
    for (int64_t b = begin; b < end; ++b)
      CHECK(losses[static_cast<size_t>(b - begin)] == doctest::Approx(whole[static_cast<size_t>(b)]).epsilon(1e-6));
  }
}

TEST_CASE("streaming likelihood: a temperature at either bound") {
  const int64_t rows = 5, width = 6, classes = 4;
  const Tensor phi = hash_tensor({rows, width}, hash_name("phi"), 1.5F), labels = hash_labels(rows, classes, 3);
  const Context context{true, 3, 8, first_examples(rows)};
  for (const HeadKind kind : {HeadKind::het, HeadKind::het_xl}) {
    for (const double t : {-40.0, 40.0}) {
      CAPTURE(kind);
      CAPTURE(t);
      std::vector<Result> results;
      for (const Likelihood likelihood : {Likelihood::composed, Likelihood::streaming}) {
        HeadConfig config = head_config(kind, Factors::efficient, Link::softmax);
        config.likelihood = likelihood;
        Init init(5);
        const std::unique_ptr<Head> head = make_head(config, width, classes, init);
        std::vector<Var> x = {Var(phi, true)};
        for (NamedVar& p : head->parameters()) {
          if (p.name == "temperature.t") p.var.mutable_value().fill(t);
          x.push_back(p.var);
        }
        CHECK(head->temperature() == doctest::Approx(t < 0 ? 0.05 : 5));
        results.push_back(run(x, head->loss(x[0], {labels, {}}, context)));
      }
      // τ = 0.05 makes logits of 60, whose rounding (4e-6) both sides inherit; the gradient of t sums terms that
      // cancel. Measured 7e-5 and 3e-4. In float64 both agree: see the cases above, in which τ is divided out.
      if (t < 0)
        check_same(results[1], results[0], 1.5e-4, 3, 6e-4);
      else
        check_same(results[1], results[0], 1e-5);
    }
  }
}

TEST_CASE("streaming likelihood: memory grows neither with K nor with S beyond what is kept") {
  constexpr double kKept = 512 << 20;            // of logits
  const auto extra = [](int64_t S, int64_t K) {  // bytes above what the inputs and their gradients need
    const Problem p{.B = 64, .S = S, .D = 16, .K = K, .R = 2};
    const std::vector<Var> x = leaves(values(p));
    CachingAllocator& memory = allocator(Device::cpu);
    memory.reset_peak();
    const size_t before = memory.stats().live;
    mean(streaming_nll(logits_of(p, x), hash_labels(p.B, K, 7))).backward();
    const size_t peak = memory.stats().peak - before;
    return static_cast<double>(peak - x[4].grad().bytes());
  };
  const double many = extra(64, 40000), all = 64.0 * 64 * 40000 * 4;
  CHECK(many < kKept + 0.1 * all);
  CHECK(many < 0.9 * all);
  CHECK(extra(64, 50000) <= many + 0.01 * all);
  // What has no room for its noise keeps nothing: O(B S), a handful of numbers a sample.
  const int64_t S = (int64_t{64} << 20) / (64 * 18 * 4) + 1;
  CHECK(extra(S, 100) < 0.5 * 64 * static_cast<double>(S) * 100 * 4);
  const Problem p{.B = 64, .S = 64, .D = 16, .K = 8, .R = 2};
  SampledLogits a = logits_of(p, leaves(values(p)));
  CHECK(detail::worth_keeping(a) != nullptr);
  {
    const NoGrad scope;
    CHECK(detail::worth_keeping(a) == nullptr);
  }
  a.samples = S;
  CHECK(detail::worth_keeping(a) == nullptr);
}

TEST_CASE("streaming likelihood: labels out of range and shapes that do not fit are refused") {
  const Problem p{.B = 2, .S = 3, .D = 4, .K = 5, .R = 1};
  const std::vector<Var> x = leaves(values(p));
  const auto refusal = [&](auto&& change, const Tensor& labels) {
    SampledLogits a = logits_of(p, x);
    change(a);
    return error_of([&] { streaming_nll(a, labels); });
  };
  const Tensor good = Tensor::from<int64_t>({0, 4}, {2});
  const auto nothing = [](SampledLogits&) {};
  CHECK(one_line_with(refusal(nothing, Tensor::from<int64_t>({0, 5}, {2})), "0 to 4", "5", "row 1"));
  CHECK(one_line_with(refusal(nothing, Tensor::from<int64_t>({-1, 0}, {2})), "-1", "row 0"));
  CHECK(one_line_with(refusal(nothing, Tensor::from<int64_t>({0}, {1})), "labels", "(2)"));
  CHECK(one_line_with(refusal([](SampledLogits& a) { a.bias = Var(a.bias.value().to(DType::bf16)); }, good),
                      "all inputs in center's f32", "bf16"));
  CHECK(one_line_with(refusal([](SampledLogits& a) { a.samples = 0; }, good), "1 or more samples", "0"));
  CHECK(one_line_with(refusal([](SampledLogits& a) { a.scales.factors = Var(); }, good), "factors beside v"));
  CHECK(one_line_with(refusal([](SampledLogits& a) { a.bias = a.scales.d; }, good), "bias", "(5)"));
  CHECK(one_line_with(refusal([](SampledLogits& a) { a.noise.examples = Tensor(); }, good), "examples"));
}

}  // namespace sked::test
