#pragma once
// Elementary functions for float that a compiler can vectorize: no branches, no tables, no library calls; only selects,
// multiplies, adds and integer work on the bits. `constexpr` is what makes them callable from device code too, without
// a macro. For double each is the standard library's: gradient checks want the last digit, not speed.
//
// The polynomials are weighted least-squares fits at Chebyshev nodes, reweighted until the error levels out (Lawson's
// method), with the coefficients rounded to float from the lowest up. tests/core/math.cpp holds each function to its
// stated error, most in units of the last place (ulp), against the double-precision one.

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace sked::math {

namespace detail {

/// c0 + x (c1 + x (c2 + …)).
constexpr float horner(float, float c) { return c; }
template <class... Rest>
constexpr float horner(float x, float c, Rest... rest) {
  return c + x * horner(x, rest...);
}

/// The same by fused multiply-adds only: nothing is left to contract, so every compiler and device rounds alike.
constexpr float horner_fma(float, float c) { return c; }
template <class... Rest>
constexpr float horner_fma(float x, float c, Rest... rest) {
  return std::fma(x, horner_fma(x, rest...), c);
}

/// 2^n for -126 ≤ n ≤ 127.
constexpr float exp2_int(int32_t n) { return std::bit_cast<float>(static_cast<uint32_t>(n + 127) << 23); }

constexpr float kLn2High = 0.693359375f;  // 9 bits: its product with an exponent is exact
constexpr float kLn2Low = -2.12194440e-4f;

/// e^x = 2^n power, n = round(x / ln 2), for |x| that n fits in 31 bits.
struct ExpParts {
  int32_t n;
  float power;  // e^r, |r| ≤ ln 2 / 2
};
constexpr ExpParts exp_parts(float x) {
  constexpr float kRound = 0x1.8p23f;  // adding it leaves an integer in the low bits
  const float shifted = x * 1.44269504f + kRound;
  const auto n = static_cast<int32_t>(std::bit_cast<uint32_t>(shifted) - std::bit_cast<uint32_t>(kRound));
  const float k = shifted - kRound;
  const float r = (x - k * kLn2High) - k * kLn2Low;
  const float p = horner(r, 0.49999994f, 0.166665211f, 0.0416682623f, 0.00836867094f, 0.00138210424f);
  return {n, 1.0f + (r + r * r * p)};
}
/// log x + offset ln 2 for a normal x > 0. With x = 2^e (1 + f), 1 + f in [√½, √2): e ln 2 + f + f² P(f).
constexpr float log_normal(float x, float offset) {
  const auto bits = std::bit_cast<int32_t>(x);
  const int32_t e = (bits - 0x3f3504f3) >> 23;  // the subtrahend is √½
  const float f = std::bit_cast<float>(bits - (e << 23)) - 1.0f;
  const float p = horner_fma(f, -0.499999881f, 0.333333254f, -0.250016004f, 0.20002f, -0.166087642f, 0.141812235f,
                             -0.132446736f, 0.129084393f, -0.076228179f);
  const float n = static_cast<float>(e) + offset;
  return std::fma(n, kLn2High, std::fma(n, kLn2Low, std::fma(f * f, p, f)));
}

}  // namespace detail

struct SinCos {
  float sin, cos;
};

// ---- the same bits on every device: what addressed noise is made of ------------------------------

/// Square root, correctly rounded as IEEE 754 demands.
constexpr float sqrt(float x) { return std::sqrt(x); }
constexpr double sqrt(double x) { return std::sqrt(x); }

/// log x for normal x > 0. Error ≤ 2 ulp.
constexpr float log_exact(float x) { return detail::log_normal(x, 0.0f); }

/// sin 2πx and cos 2πx for 0 ≤ x < 1. With the nearest quarter turn q removed, r = x − q/4 in [−1/8, 1/8] is exact;
/// polynomials in r², then q swaps the two and sets their signs. Error ≤ 2e-7.
constexpr SinCos sincos2pi_exact(float x) {
  const auto q = static_cast<int32_t>(std::fma(x, 4.0f, 0.5f));
  const float r = std::fma(static_cast<float>(q), -0.25f, x);
  const float s = r * r;
  const float sin_r = r * detail::horner_fma(s, 6.28318548f, -41.3418617f, 81.6248627f, -76.7405853f);
  const float cos_r = detail::horner_fma(s, 1.0f, -19.7392082f, 64.9391479f, -85.4245224f, 58.6210518f);
  const bool odd = (q & 1) != 0;
  const float sine = odd ? cos_r : sin_r, cosine = odd ? sin_r : cos_r;
  return {(q & 2) != 0 ? -sine : sine, ((q + 1) & 2) != 0 ? -cosine : cosine};
}

// ---- everything else: within a few ulp, contraction allowed --------------------------------------

/// e^x = 2^n e^r, n = round(x / ln 2), |r| ≤ ln 2 / 2. Error ≤ 2 ulp; overflows to inf, underflows through the
/// subnormals to 0. Always inlined: a loop that calls it is no vector loop.
[[gnu::always_inline]] constexpr float exp(float x) {
  x = 89.0f < x ? 89.0f : x;  // e^89 is inf, e^-104 is 0; NaN passes both comparisons
  x = -104.0f > x ? -104.0f : x;
  const detail::ExpParts e = detail::exp_parts(x);
  const int32_t half = e.n >> 1;  // in two steps, since 2^n itself may lie outside the normal range
  return e.power * detail::exp2_int(half) * detail::exp2_int(e.n - half);
}
constexpr double exp(double x) { return std::exp(x); }

/// Natural logarithm; log 0 = −inf, NaN below. Error ≤ 2 ulp.
constexpr float log(float x) {
  using Limits = std::numeric_limits<float>;
  const bool subnormal = x < Limits::min();
  const float y = detail::log_normal(subnormal ? x * 0x1p23f : x, subnormal ? -23.0f : 0.0f);
  const float positive = x <= Limits::max() ? y : x;
  return x > 0.0f ? positive : (x == 0.0f ? -Limits::infinity() : Limits::quiet_NaN());
}
constexpr double log(double x) { return std::log(x); }

/// log(1 + x) for x ≥ 0: log u + (x − (u − 1)) / u with u the rounded 1 + x, the second term being what rounding lost.
/// Error ≤ 3 ulp.
constexpr float log1p(float x) {
  const float u = 1.0f + x;
  const float y = detail::log_normal(u, 0.0f) + (x - (u - 1.0f)) / u;
  return x <= std::numeric_limits<float>::max() ? y : x;
}
constexpr double log1p(double x) { return std::log1p(x); }

/// Of the standard normal distribution: Φ(x), its distribution function, and e^(−x²/2), its density without the factor
/// 1/√(2π).
template <class T>
struct Normal {
  T cdf, bell;
};
/// 1 − Φ(u) = e^(−u²/2) R(u) for u = |x|, R being a polynomial up to 6, behind which the tail is below 1e-9 and R stays
/// as it is. Error of Φ ≤ 1.5e-7; of e^(−x²/2), where x² is rounded, 1e-7.
[[gnu::always_inline]] constexpr Normal<float> normal(float x) {
  const float magnitude = x < 0.0f ? -x : x, u = 6.0f < magnitude ? 6.0f : magnitude;  // NaN stays
  const float bell = exp(-0.5f * x * x);
  const float tail = bell * detail::horner(u, 0.49999997f, -0.39893952f, 0.249957412f, -0.132724211f, 0.0617031455f,
                                           -0.0251304209f, 0.00868171267f, -0.0023990185f, 0.00049237418f,
                                           -6.85997511e-05f, 5.67719007e-06f, -2.07492704e-07f);
  return {x > 0.0f ? 1.0f - tail : tail, bell};
}
constexpr Normal<double> normal(double x) {
  return {0.5 * std::erfc(x * -0.70710678118654752440), std::exp(-0.5 * x * x)};
}

/// Hyperbolic tangent: x + x³ T(x²) near 0, elsewhere 1 − 2 / (e^2|x| + 1) with x's sign. Error ≤ 3 ulp.
constexpr float tanh(float x) {
  const float t = x < 0.0f ? -x : x;
  const float s = x * x;
  const float p = detail::horner(s, -0.333332986f, 0.133319363f, -0.0537847169f, 0.0207986254f, -0.00589796668f);
  const float far = 1.0f - 2.0f / (exp(2.0f * t) + 1.0f);
  return t > 0.6f ? (x < 0.0f ? -far : far) : x + x * s * p;
}
constexpr double tanh(double x) { return std::tanh(x); }

/// 1 / (1 + e^−x). Error ≤ 4 ulp, and below e^−88 gradually to 0.
template <class T>
constexpr T sigmoid(T x) {
  return T{1} / (T{1} + exp(-x));
}

/// log(1 + e^x) = max(x, 0) + log(1 + e^−|x|), which neither overflows nor cancels.
template <class T>
constexpr T softplus(T x) {
  return (x > T{0} ? x : T{0}) + log1p(exp(x > T{0} ? -x : x));
}

}  // namespace sked::math
