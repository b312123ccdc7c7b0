#pragma once
// Winograd's transforms F(m, 3) in one dimension (Lavin and Gray, CVPR 2016, arXiv 1509.09308): m outputs y of a filter
// g of 3 taps over n = m + 2 inputs d by n products,  y = Aᵀ [(G g) ⊙ (Bᵀ d)].
// The filter's and the input's polynomials are multiplied through their values at n points, of which one is infinity.

#include <array>

namespace sked::cpu {

template <int n>
using Values = std::array<float, n>;

template <int m>
struct Winograd;

/// At 0, 1, −1, ∞. Rounding error: that of the sum written out.
template <>
struct Winograd<2> {
  static constexpr int kOutputs = 2, kInputs = 4;

  // Bᵀ d
  static Values<4> input(Values<4> d) { return {d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]}; }
  // Aᵀ m
  static Values<2> output(Values<4> m) { return {m[0] + m[1] + m[2], m[1] - m[2] - m[3]}; }
  // A y
  static Values<4> output_adjoint(Values<2> y) { return {y[0], y[0] + y[1], y[0] - y[1], -y[1]}; }
  // G g
  static Values<4> filter(Values<3> g) {
    const float even = 0.5f * (g[0] + g[2]), odd = 0.5f * g[1];
    return {g[0], even + odd, even - odd, g[2]};
  }
  // Gᵀ u
  static Values<3> filter_adjoint(Values<4> u) {
    const float even = 0.5f * (u[1] + u[2]);
    return {u[0] + even, 0.5f * (u[1] - u[2]), even + u[3]};
  }
};

/// At 0, ±a, ±b, ∞ with a = 2/3 and b = 1/a. Rounding error: about twice that of the sum written out in order; at the
/// usual points, ±1 and ±2, it would be five times as large.
template <>
struct Winograd<4> {
  static constexpr int kOutputs = 4, kInputs = 6;
  static constexpr float a = 2.0f / 3, b = 3.0f / 2, a2 = a * a, b2 = b * b, a3 = a2 * a, b3 = b2 * b;
  static constexpr float of_a = -81.0f / 130, of_b = 8.0f / 65;  // 1 / (2a² (a² − b²)), 1 / (2b² (b² − a²))

  static Values<6> input(Values<6> d) {
    const float even_a = d[4] - b2 * d[2], odd_a = a * d[3] - b * d[1];
    const float even_b = d[4] - a2 * d[2], odd_b = b * d[3] - a * d[1];
    return {d[0] - (a2 + b2) * d[2] + d[4], even_a + odd_a, even_a - odd_a, even_b + odd_b, even_b - odd_b,
            d[1] - (a2 + b2) * d[3] + d[5]};
  }
  static Values<4> output(Values<6> m) {
    const float even_a = m[1] + m[2], odd_a = m[1] - m[2], even_b = m[3] + m[4], odd_b = m[3] - m[4];
    return {m[0] + even_a + even_b, a * odd_a + b * odd_b, a2 * even_a + b2 * even_b, a3 * odd_a + b3 * odd_b + m[5]};
  }
  static Values<6> output_adjoint(Values<4> y) {
    const float even_a = y[0] + a2 * y[2], odd_a = a * y[1] + a3 * y[3];
    const float even_b = y[0] + b2 * y[2], odd_b = b * y[1] + b3 * y[3];
    return {y[0], even_a + odd_a, even_a - odd_a, even_b + odd_b, even_b - odd_b, y[3]};
  }
  static Values<6> filter(Values<3> g) {
    const float even_a = of_a * (g[0] + a2 * g[2]), odd_a = of_a * a * g[1];
    const float even_b = of_b * (g[0] + b2 * g[2]), odd_b = of_b * b * g[1];
    return {g[0], even_a + odd_a, even_a - odd_a, even_b + odd_b, even_b - odd_b, g[2]};
  }
  static Values<3> filter_adjoint(Values<6> u) {
    const float even_a = of_a * (u[1] + u[2]), even_b = of_b * (u[3] + u[4]);
    const float odd_a = of_a * a * (u[1] - u[2]), odd_b = of_b * b * (u[3] - u[4]);
    return {u[0] + even_a + even_b, odd_a + odd_b, a2 * even_a + b2 * even_b + u[5]};
  }
};

}  // namespace sked::cpu
