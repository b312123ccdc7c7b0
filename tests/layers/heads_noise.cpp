// The noise: its covariance, its addresses, and what the Monte Carlo averages over it converge to.

#include <doctest/doctest.h>

#include <cmath>
#include <functional>
#include <numbers>

#include "layers/heads/composed.h"
#include "layers/heads/noise.h"
#include "tests/common/hash_weights.h"
#include "tests/layers/heads_common.h"

namespace sked::test {
namespace {

constexpr Factors kForms[] = {Factors::full, Factors::efficient, Factors::diagonal};

Tensor pre_logits(int64_t rows, int64_t width) { return hash_tensor({rows, width}, hash_name("phi"), 1.5F); }

Tensor draw(const GaussianNoise& noise, const Tensor& phi, const Context& context, int64_t first, int64_t count) {
  const NoGrad off;
  return composed_noise(noise.scales(Var(phi)), noise.source(context, phi.dim(0)), first, count).value();
}

/// Samples [first, first + count) of noise (B,S,J), as a vector.
std::vector<float> samples_of(const Tensor& noise, int64_t row, int64_t first, int64_t count) {
  const int64_t s = noise.dim(1);
  return noise.reshape({noise.dim(0) * s, noise.dim(2)})
      .rows(row * s + first, row * s + first + count)
      .to_vector<float>();
}

/// Are both the same numbers, up to the rounding of a product whose number of rows differs?
void check_close(const std::vector<float>& got, const std::vector<float>& want) {
  REQUIRE(got.size() == want.size());
  for (size_t i = 0; i < got.size(); ++i) CHECK(got[i] == doctest::Approx(want[i]).epsilon(1e-5).scale(1));
}

}  // namespace

namespace {

/// Holds mean and covariance of many draws at one φ against 0 and the closed form.
void check_moments(const GaussianNoise& noise, const Tensor& phi) {
  const int64_t j = noise.coordinates(), n = 200000;
  const std::vector<float> eps = draw(noise, phi, {true, 1, 0, first_examples(1)}, 0, n).to_vector<float>();
  const std::vector<double> want = noise.covariance(phi).to_vector<double>();
  std::vector<double> mean(j, 0), second(j * j, 0);
  for (int64_t s = 0; s < n; ++s) {
    for (int64_t a = 0; a < j; ++a) {
      mean[a] += eps[s * j + a] / static_cast<double>(n);
      for (int64_t b = 0; b < j; ++b)
        second[a * j + b] += double{eps[s * j + a]} * eps[s * j + b] / static_cast<double>(n);
    }
  }
  const auto at = [&](int64_t a, int64_t b) { return want[a * j + b]; };
  for (int64_t a = 0; a < j; ++a) {
    CHECK(std::abs(mean[a]) <= 4 * std::sqrt(at(a, a) / n));
    // Isserlis: Var(ε_a ε_b) = Σ_aa Σ_bb + Σ_ab²
    for (int64_t b = 0; b < j; ++b)
      CHECK(std::abs(second[a * j + b] - at(a, b)) <= 4 * std::sqrt((at(a, a) * at(b, b) + at(a, b) * at(a, b)) / n));
  }
}

}  // namespace

TEST_CASE("noise: mean 0 and covariance V Vᵀ + diag(d²), or V Vᵀ + d dᵀ where coordinates share what d scales") {
  const Tensor phi = pre_logits(1, 3);
  for (const Factors form : kForms) {
    for (const DiagonalNoise diagonal : {DiagonalNoise::independent, DiagonalNoise::shared}) {
      CAPTURE(form);
      CAPTURE(diagonal);
      Init init(11);
      const GaussianNoise noise({.factors = form, .rank = 2, .diagonal = diagonal}, "head", 3, 4, init);
      check_moments(noise, phi);
      const double across = noise.covariance(phi).to_vector<double>()[1];
      CHECK((std::abs(across) > 1e-3) == (form != Factors::diagonal || diagonal == DiagonalNoise::shared));
    }
  }
}

// The reference layers compute v ⊙ (V ε^R + c): here the same draws with and without c.
TEST_CASE("noise: a bias of the factors is a mean of the noise, v(x) ⊙ c") {
  const int64_t width = 3, j = 4;
  const Tensor phi = pre_logits(5, width);
  Init init(11);
  GaussianNoise noise({.rank = 2, .factor_bias = true}, "head", width, j, init);
  const NoiseScales scales = noise.scales(Var(phi));
  CHECK(noise.mean(scales).value().to_vector<double>() == std::vector<double>(5 * j, 0));  // c = 0 at first
  Tensor c = hash_tensor({j}, 5);
  for (NamedVar& p : noise.parameters())
    if (p.name == "v_bias") p.var.mutable_value().copy_from(c);
  const std::vector<double> mean = noise.mean(scales).value().to_vector<double>();
  const std::vector<double> v = scales.v.value().to_vector<double>(), bias = c.to_vector<double>();
  for (int64_t i = 0; i < 5 * j; ++i) CHECK(mean[i] == doctest::Approx(v[i] * bias[i % j]).epsilon(1e-6));

  Init plain(11);
  const GaussianNoise without({.rank = 2}, "head", width, j, plain);
  CHECK_FALSE(without.mean(without.scales(Var(phi))).defined());
}

TEST_CASE("noise: init is d(x) where the weights say nothing of x") {
  for (const double d : {0.0011, 0.05, 0.2, 0.69, 30.0, 2000.0}) {
    Init init(3);
    const GaussianNoise noise({.factors = Factors::diagonal, .init = d, .init_scale = 0}, "head", 4, 3, init);
    for (const double v : noise.variance(pre_logits(2, 4)).to_vector<double>())
      CHECK(std::sqrt(v) == doctest::Approx(d).epsilon(1e-5));
  }
}

TEST_CASE("noise: the closed forms of covariance, variance and scale agree") {
  const int64_t width = 5, j = 3, rows = 4;
  const Tensor phi = pre_logits(rows, width);
  for (const Factors form : kForms) {
    CAPTURE(form);
    Init init(3);
    const GaussianNoise noise({.factors = form, .rank = 3}, "head", width, j, init);
    const std::vector<double> covariance = noise.covariance(phi).to_vector<double>();
    const std::vector<double> variance = noise.variance(phi).to_vector<double>();
    for (int64_t i = 0; i < rows * j; ++i)
      CHECK(variance[i] == doctest::Approx(covariance[i * j + i % j]).epsilon(1e-5));
  }
  Init init(3);
  const std::unique_ptr<Head> head =
      make_head(head_config(HeadKind::het, Factors::full, Link::softmax), width, j, init);
  Init same(3);
  same.next_stream();  // the classifier's
  const GaussianNoise noise({.factors = Factors::full, .rank = 2}, "head", width, j, same);
  const std::vector<double> scale = head->noise_scale(phi).to_vector<double>();
  const std::vector<double> variance = noise.variance(phi).to_vector<double>();
  for (int64_t b = 0; b < rows; ++b) {
    double mean = 0;
    for (int64_t k = 0; k < j; ++k) mean += std::sqrt(variance[b * j + k]) / j;
    CHECK(scale[b] == doctest::Approx(mean).epsilon(1e-5));
  }
}

TEST_CASE("noise: what a head says of its parts is Σ(x)") {
  const int64_t width = 5, classes = 3, rows = 4;
  const Tensor phi = pre_logits(rows, width);
  for (const HeadKind kind : {HeadKind::het, HeadKind::het_xl}) {
    for (const Factors form : kForms) {
      CAPTURE(kind);
      CAPTURE(form);
      const int64_t j = kind == HeadKind::het ? classes : width;
      Init init(3), same(3);
      const std::unique_ptr<Head> head = make_head(head_config(kind, form, Link::softmax), width, classes, init);
      struct Named : Module {
        explicit Named(GaussianNoise& noise) { add("noise", noise); }
      };
      GaussianNoise noise({.factors = form, .rank = 2}, "head", width, j, same);
      Named named(noise);
      set_hash_parameters(*head);  // by their names
      set_hash_parameters(named);
      const std::vector<double> covariance = noise.covariance(phi).to_vector<double>();
      const std::vector<double> total = head->noise_variance(phi).to_vector<double>();
      const NoiseParts parts = head->noise_parts(phi);
      REQUIRE(parts.deviation.shape() == Shape{rows, j});
      const std::vector<double> d = parts.deviation.to_vector<double>();
      std::vector<double> v(static_cast<size_t>(rows * j * 2), 0.0);
      CHECK(parts.factors.defined() == (form != Factors::diagonal));
      if (parts.factors.defined()) {
        REQUIRE(parts.factors.shape() == Shape{rows, j, 2});
        v = parts.factors.to_vector<double>();
      }
      for (int64_t b = 0; b < rows; ++b) {
        double trace = 0;
        for (int64_t m = 0; m < j; ++m)
          for (int64_t n = 0; n < j; ++n) {
            const auto at = [&](int64_t i, int64_t r) { return v[static_cast<size_t>((b * j + i) * 2 + r)]; };
            const double own = d[static_cast<size_t>(b * j + m)];
            const double sigma = at(m, 0) * at(n, 0) + at(m, 1) * at(n, 1) + (m == n ? own * own : 0);
            const double want = covariance[static_cast<size_t>((b * j + m) * j + n)];
            CHECK(std::abs(sigma - want) < 1e-5 * std::max(1.0, std::abs(want)));  // products of f32
            if (m == n) trace += sigma;
          }
        CHECK(total[static_cast<size_t>(b)] == doctest::Approx(trace).epsilon(1e-5));
      }
    }
  }
  Init init(3);
  const std::unique_ptr<Head> det =
      make_head(head_config(HeadKind::det, Factors::full, Link::softmax), width, classes, init);
  CHECK(det->noise_variance(phi).to_vector<double>() == std::vector<double>(rows, 0.0));
  CHECK_FALSE(det->noise_parts(phi).deviation.defined());
  CHECK_FALSE(det->logit_covariance(phi).defined());
}

TEST_CASE("noise: the covariance of u/τ is that of the parts, through the classifier for HET-XL") {
  const int64_t width = 5, classes = 3, rows = 2;
  const Tensor phi = pre_logits(rows, width);
  for (const HeadKind kind : {HeadKind::het, HeadKind::het_xl}) {
    for (const Factors form : kForms) {
      for (const DiagonalNoise diagonal : {DiagonalNoise::independent, DiagonalNoise::shared}) {
        CAPTURE(kind);
        CAPTURE(form);
        CAPTURE(diagonal);
        HeadConfig config = head_config(kind, form, Link::softmax);
        config.noise.diagonal = diagonal;
        Init init(3);
        const std::unique_ptr<Head> head = make_head(config, width, classes, init);
        set_hash_parameters(*head);
        const int64_t j = kind == HeadKind::het ? classes : width;
        const NoiseParts parts = head->noise_parts(phi);
        std::vector<double> w;  // (K,J)
        for (int64_t i = 0; i < classes * classes; ++i) w.push_back(i % (classes + 1) == 0);
        if (kind == HeadKind::het_xl)
          for (const auto& [name, parameter, shard] : head->parameters())
            if (name == "weight") w = parameter.value().to_vector<double>();
        const std::vector<double> sigma = head->logit_covariance(phi).to_vector<double>();
        REQUIRE(sigma.size() == static_cast<size_t>(rows * classes * classes));
        for (int64_t b = 0; b < rows; ++b) {
          const std::vector<double> d = parts.deviation.rows(b, b + 1).to_vector<double>();
          const std::vector<double> v = parts.factors.defined() ? parts.factors.rows(b, b + 1).to_vector<double>()
                                                                : std::vector<double>(static_cast<size_t>(j * 2), 0.0);
          for (int64_t m = 0; m < classes; ++m)
            for (int64_t n = 0; n < classes; ++n) {
              double want = 0;
              for (int64_t s = 0; s < j; ++s)
                for (int64_t t = 0; t < j; ++t) {
                  const bool together = diagonal == DiagonalNoise::shared || s == t;
                  const double noise = v[2 * s] * v[2 * t] + v[2 * s + 1] * v[2 * t + 1] + (together ? d[s] * d[t] : 0);
                  want += w[m * j + s] * noise * w[n * j + t];
                }
              want /= head->temperature() * head->temperature();
              const double got = sigma[static_cast<size_t>((b * classes + m) * classes + n)];
              CHECK(std::abs(got - want) < 1e-5 * std::max(1.0, std::abs(want)));  // products of f32
            }
        }
      }
    }
  }
}

TEST_CASE("noise: init_scale multiplies V(x), and leaves the smallest deviation") {
  for (const Factors form : {Factors::full, Factors::efficient}) {
    Init init(3);
    const GaussianNoise noise({.factors = form, .rank = 2, .init_scale = 0}, "head", 4, 3, init);
    const double expected = std::pow(std::log(2.0) + 1e-3, 2);  // softplus(0) + 1e-3
    for (const double v : noise.variance(pre_logits(2, 4)).to_vector<double>())
      CHECK(v == doctest::Approx(expected).epsilon(1e-5));
  }
}

TEST_CASE("noise: a function of its address, not of how a batch is cut") {
  const int64_t width = 4, j = 5, rows = 6;
  const Tensor phi = pre_logits(rows, width);
  const Context context{true, 9, 17, Tensor::from<int64_t>({5, 900, 2, 77, 0, 31}, {rows})};
  for (const Factors form : kForms) {
    CAPTURE(form);
    Init init(2);
    const GaussianNoise noise({.factors = form, .rank = 2}, "head", width, j, init);
    const Tensor whole = draw(noise, phi, context, 0, 8);

    check_close(samples_of(draw(noise, phi, context, 3, 2), 4, 0, 2), samples_of(whole, 4, 3, 2));
    Context half = context;
    half.examples = context.examples.rows(3, rows);
    check_close(samples_of(draw(noise, phi.rows(3, rows), half, 0, 8), 1, 0, 8), samples_of(whole, 4, 0, 8));

    Context other = context;
    other.step = 18;
    CHECK(relative_error(draw(noise, phi, other, 0, 8), whole) > 0.1);
    other.training = false;
    const Tensor prediction = draw(noise, phi, other, 0, 8);
    CHECK(relative_error(prediction, whole) > 0.1);
    other.step = 3;
    CHECK(relative_error(draw(noise, phi, other, 0, 8), prediction) == 0);
    other.seed = 10;
    CHECK(relative_error(draw(noise, phi, other, 0, 8), prediction) > 0.1);
  }
}

namespace {

struct Moments {
  double mean, deviation;
};

double logistic(double x) { return 1 / (1 + std::exp(-x)); }

/// Of σ(μ + s ε), ε ~ N(0,1): the trapezoidal rule on ±12, whose error for this integrand is far below f32.
Moments logistic_normal(double mu, double s) {
  double first = 0, second = 0;
  const double h = 1e-3;
  for (int i = -12000; i <= 12000; ++i) {
    const double e = i * h, weight = h * std::exp(-e * e / 2) / std::sqrt(2 * std::numbers::pi),
                 p = logistic(mu + s * e);
    first += weight * p;
    second += weight * p * p;
  }
  return {first, std::sqrt(second - first * first)};
}

/// cᵀ Σ c.
double quadratic_form(const std::vector<double>& c, const std::vector<double>& covariance) {
  double sum = 0;
  for (size_t a = 0; a < c.size(); ++a)
    for (size_t b = 0; b < c.size(); ++b) sum += c[a] * c[b] * covariance[a * c.size() + b];
  return sum;
}

const NamedVar& named(const std::vector<NamedVar>& parameters, const std::string& name) {
  for (const NamedVar& p : parameters)
    if (p.name == name) return p;
  fail("test", "no parameter ", name);
}

}  // namespace

// With one logit difference the averaged probability is E σ((μ + s ε) / τ): for two classes under the softmax link μ
// and s² are mean and variance of u_0 − u_1, for one class under the sigmoid link those of u_0. Both are linear in the
// noise, so s² = cᵀ Σ(x) c with c = (1, −1) or (1) on HET's logits, and cᵀ W on HET-XL's pre-logits.
TEST_CASE("heads: probabilities converge to the closed form") {
  const int64_t width = 3, samples = 1000000;
  const Tensor phi = pre_logits(1, width);
  for (const Link link : {Link::softmax, Link::sigmoid}) {
    for (const HeadKind kind : {HeadKind::het, HeadKind::het_xl}) {
      for (const Factors form : kForms) {
        const bool softmax = link == Link::softmax, xl = kind == HeadKind::het_xl;
        CAPTURE(link);
        CAPTURE(kind);
        CAPTURE(form);
        HeadConfig config = head_config(kind, form, link);
        config.noise.rank = 1;
        config.temperature.learn = false;
        config.temperature.value = 0.4;
        config.sample_chunk = 100000;
        const int64_t classes = softmax ? 2 : 1;
        Init init(21), same(21);
        const std::unique_ptr<Head> head = make_head(config, width, classes, init);
        same.next_stream();  // the classifier's
        const GaussianNoise noise({.factors = form, .rank = 1}, "head", width, xl ? width : classes, same);

        const std::vector<double> w = named(head->parameters(), "weight").var.value().to_vector<double>();
        const std::vector<double> x = phi.to_vector<double>();
        std::vector<double> c(x.size());  // the row of W, or difference of rows, that gives the one logit difference
        double mu = 0;
        for (size_t d = 0; d < c.size(); ++d) {
          c[d] = softmax ? w[d] - w[c.size() + d] : w[d];
          mu += c[d] * x[d];
        }
        if (!xl) c = softmax ? std::vector<double>{1, -1} : std::vector<double>{1};
        const double s = std::sqrt(quadratic_form(c, noise.covariance(phi).to_vector<double>()));
        const Moments want = logistic_normal(mu / config.temperature.value, s / config.temperature.value);

        const double p = head->predict(phi, samples, {false, 4, 0, first_examples(1)}).to_vector<double>()[0];
        CHECK(std::abs(p - want.mean) <= 4 * want.deviation / std::sqrt(static_cast<double>(samples)));
        CHECK(std::abs(p - logistic(mu / config.temperature.value)) > 0.005);  // the noise mattered
      }
    }
  }
}

}  // namespace sked::test
