#include "core/math.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <limits>
#include <numbers>
#include <string>

using namespace sked;

namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

/// The largest error of f against `exact` over an even grid of [low, high], in units of the last place of the exact
/// result, and where.
template <class F, class G>
void check_ulp(const std::string& name, F f, G exact, float low, float high, double allowed) {
  constexpr int kPoints = 300000;
  double worst = 0;
  float at = low;
  for (int i = 0; i <= kPoints; ++i) {
    const auto x = static_cast<float>(low + (static_cast<double>(high) - low) * i / kPoints);
    const double want = exact(static_cast<double>(x));
    const float near = std::fabs(static_cast<float>(want));
    const double ulp = static_cast<double>(std::nextafter(near, kInf)) - static_cast<double>(near);
    const double error = std::fabs(static_cast<double>(f(x)) - want) / ulp;
    if (error <= worst) continue;
    worst = error;
    at = x;
    if (std::isnan(error)) break;
  }
  CHECK_MESSAGE(worst <= allowed, name << "(" << at << ") is off by " << worst << " ulp, allowed " << allowed);
}

double exact_sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }
double exact_softplus(double x) { return std::fmax(x, 0.0) + std::log1p(std::exp(-std::fabs(x))); }

}  // namespace

// The allowed errors are what math.h promises; measured over 2·10^7 points: exp 1.0, log 0.9, log1p 1.2, tanh 1.3,
// sigmoid 2.5, softplus 2.0 ulp.
TEST_CASE("math: float functions keep their promised errors") {
  const auto exp_f = [](float x) { return math::exp(x); };
  const auto exp_d = [](double x) { return std::exp(x); };
  check_ulp("exp", exp_f, exp_d, -87.0f, 88.7f, 2);
  check_ulp("exp", exp_f, exp_d, -1.0f, 1.0f, 2);
  check_ulp("exp", exp_f, exp_d, -103.9f, -87.0f, 2);  // subnormal results
  const auto log_f = [](float x) { return math::log(x); };
  const auto log_d = [](double x) { return std::log(x); };
  check_ulp("log", log_f, log_d, 0.1f, 3.0f, 2);
  check_ulp("log", log_f, log_d, 3.0f, 1e9f, 2);
  check_ulp("log", log_f, log_d, 1e-44f, 1e-37f, 2);
  check_ulp(
      "log_exact", [](float x) { return math::log_exact(x); }, log_d, 0x1p-24f, 1.0f, 2);
  const auto log1p_d = [](double x) { return std::log1p(x); };
  check_ulp(
      "log1p", [](float x) { return math::log1p(x); }, log1p_d, 0.0f, 1.0f, 3);
  check_ulp(
      "log1p", [](float x) { return math::log1p(x); }, log1p_d, 0.0f, 1e-3f, 3);
  check_ulp(
      "log1p", [](float x) { return math::log1p(x); }, log1p_d, 1.0f, 1e6f, 3);
  const auto tanh_d = [](double x) { return std::tanh(x); };
  check_ulp(
      "tanh", [](float x) { return math::tanh(x); }, tanh_d, -10.0f, 10.0f, 3);
  check_ulp(
      "tanh", [](float x) { return math::tanh(x); }, tanh_d, -1e-2f, 1e-2f, 3);
  check_ulp(
      "sigmoid", [](float x) { return math::sigmoid(x); }, exact_sigmoid, -87.0f, 87.0f, 4);
  check_ulp(
      "softplus", [](float x) { return math::softplus(x); }, exact_softplus, -87.0f, 87.0f, 4);
}

TEST_CASE("math: sine and cosine of turns") {
  double worst = 0;
  for (uint32_t i = 0; i < (1u << 24); i += 37) {
    const float x = static_cast<float>(i) * 0x1p-24f;
    const math::SinCos got = math::sincos2pi_exact(x);
    const double angle = 2 * std::numbers::pi * static_cast<double>(x);
    worst = std::max({worst, std::fabs(got.sin - std::sin(angle)), std::fabs(got.cos - std::cos(angle))});
  }
  CHECK(worst < 2e-7);
  CHECK(math::sincos2pi_exact(0.0f).cos == 1.0f);
  CHECK(math::sincos2pi_exact(0.25f).sin == 1.0f);
  CHECK(math::sincos2pi_exact(0.5f).cos == -1.0f);
  CHECK(math::sincos2pi_exact(0.75f).sin == -1.0f);
}

TEST_CASE("math: the normal distribution") {
  double cdf = 0, bell = 0;
  for (int i = -1200000; i <= 1200000; ++i) {
    const float x = static_cast<float>(i) * 1e-5f;
    const math::Normal<float> got = math::normal(x);
    const auto exact = math::normal(static_cast<double>(x));
    cdf = std::max(cdf, std::fabs(static_cast<double>(got.cdf) - exact.cdf));
    bell = std::max(bell, std::fabs(static_cast<double>(got.bell) - exact.bell));
  }
  MESSAGE("errors of cdf and bell: " << cdf << ", " << bell);
  CHECK(cdf <= 1.5e-7);
  CHECK(bell <= 1e-7);
  for (float big : {15.0f, 1e4f, kInf}) {
    CHECK(math::normal(big).cdf == 1.0f);
    CHECK(math::normal(-big).cdf == 0.0f);
    CHECK(math::normal(big).bell == 0.0f);
  }
  static_assert(math::normal(0.0f).bell == 1.0f && math::normal(1.0f).cdf > 0.84f, "evaluated by the compiler");
  // Φ(1.96), as every table has it, and Φ(−3).
  CHECK(std::fabs(math::normal(1.96).cdf - 0.9750021048517795) < 1e-15);
  CHECK(std::fabs(math::normal(-3.0).cdf - 0.0013498980316300946) < 1e-17);
}

TEST_CASE("math: limits, large arguments and NaN") {
  CHECK(math::exp(kInf) == kInf);
  CHECK(math::exp(-kInf) == 0.0f);
  CHECK(math::exp(0.0f) == 1.0f);
  CHECK(math::exp(1e30f) == kInf);
  CHECK(math::exp(-1e30f) == 0.0f);
  CHECK(math::exp(88.72f) < kInf);
  CHECK(math::exp(88.73f) == kInf);
  CHECK(math::log(0.0f) == -kInf);
  CHECK(math::log(kInf) == kInf);
  CHECK(math::log(1.0f) == 0.0f);
  CHECK(std::isnan(math::log(-1.0f)));
  CHECK(math::log1p(0.0f) == 0.0f);
  CHECK(math::log1p(kInf) == kInf);
  CHECK(math::log1p(1e-30f) == 1e-30f);
  for (float big : {10.0f, 1e4f, kInf}) {
    CHECK(math::tanh(big) == 1.0f);
    CHECK(math::tanh(-big) == -1.0f);
  }
  CHECK(math::sigmoid(kInf) == 1.0f);
  CHECK(math::sigmoid(-kInf) == 0.0f);
  CHECK(math::sigmoid(0.0f) == 0.5f);
  CHECK(math::softplus(1e4f) == 1e4f);
  CHECK(math::softplus(-1e4f) == 0.0f);
  CHECK(math::softplus(kInf) == kInf);
  for (float y : {math::exp(kNan), math::log(kNan), math::log1p(kNan), math::normal(kNan).cdf, math::normal(kNan).bell,
                  math::tanh(kNan), math::sigmoid(kNan), math::softplus(kNan), math::sqrt(-1.0f)}) {
    CHECK(std::isnan(y));
  }
  static_assert(math::exp(1.0f) > 2.718f && math::tanh(0.5f) > 0.46f, "they can be evaluated by the compiler");
}
