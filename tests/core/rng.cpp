#include "core/rng.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <numbers>
#include <vector>

using namespace sked;

TEST_CASE("philox4x32-10 gives the published known answers (Random123, kat_vectors)") {
  using Words = std::array<uint32_t, 4>;
  constexpr uint32_t f = 0xffffffffu;
  static_assert(philox({0, 0, 0, 0}, {0, 0}) == Words{0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u});
  CHECK(philox({0, 0, 0, 0}, {0, 0}) == Words{0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u});
  CHECK(philox({f, f, f, f}, {f, f}) == Words{0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu});
  CHECK(philox({0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u}, {0xa4093822u, 0x299f31d0u}) ==
        Words{0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u});
}

TEST_CASE("rng: every part of an address matters") {
  const RngAddress base{1, 2, 3};
  const auto words = random_words(base, 4, 5, 6);
  CHECK(words == random_words(base, 4, 5, 6));
  CHECK(words != random_words({2, 2, 3}, 4, 5, 6));
  CHECK(words != random_words({1, 3, 3}, 4, 5, 6));
  CHECK(words != random_words({1, 2, 4}, 4, 5, 6));
  CHECK(words != random_words(base, 5, 5, 6));
  CHECK(words != random_words(base, 4, 6, 6));
  CHECK(words != random_words(base, 4, 5, 7));
  CHECK(RngAddress{1, 2, 0}.key() != RngAddress{2, 1, 0}.key());
}

TEST_CASE("rng: the sequential reader reads the address in order") {
  const RngAddress address{11, 12, 13};
  Rng rng(address, 3, 4);
  for (uint64_t block = 0; block < 3; ++block) {
    for (uint32_t word : random_words(address, 3, 4, block)) CHECK(rng.next_u32() == word);
  }
}

TEST_CASE("rng: extremes of the words stay in range") {
  CHECK(uniform01(0) == 0.0f);
  CHECK(uniform01(0xffffffffu) < 1.0f);
  const auto far = normal4({0, 0, 0xffffffffu, 0xffffffffu});
  CHECK(far[0] == doctest::Approx(std::sqrt(2 * 24 * std::numbers::ln2)));  // u = 2^-24, the rarest
  CHECK(far[1] == 0.0f);
  CHECK(far[2] == 0.0f);  // u = 1: radius 0
  CHECK(!std::isnan(far[3]));
}

TEST_CASE("rng: below is uniform and in range") {
  Rng rng({5, 6, 7});
  CHECK(rng.below(1) == 0);
  std::array<int, 7> counts{};
  constexpr int kDraws = 70000;
  for (int i = 0; i < kDraws; ++i) ++counts.at(rng.below(7));
  double chi2 = 0;
  for (int c : counts) chi2 += (c - 10000.0) * (c - 10000.0) / 10000.0;
  CHECK(chi2 < 22.5);              // 6 degrees of freedom: exceeded once in 1000 seeds; ours is fixed
  const uint32_t n = 0xC0000000u;  // where a plain modulo would double a third of the values
  int low = 0;
  for (int i = 0; i < 30000; ++i) low += rng.below(n) < n / 3 ? 1 : 0;
  CHECK(std::abs(low - 10000) < 330);  // 4 standard deviations
}

TEST_CASE("rng: normals have the moments and the distribution of N(0, 1)") {
  Rng rng({21, 22, 23});
  constexpr size_t n = 200000;
  std::vector<double> z(n);
  for (double& v : z) v = static_cast<double>(rng.normal());
  double m1 = 0, m2 = 0, m3 = 0, m4 = 0;
  for (double v : z) m1 += v / n, m2 += v * v / n, m3 += v * v * v / n, m4 += v * v * v * v / n;
  // four standard errors of each moment: sqrt(1, 2, 15, 96) / sqrt(n)
  CHECK(std::abs(m1) < 4 * 1.00 / std::sqrt(n));
  CHECK(std::abs(m2 - 1) < 4 * 1.42 / std::sqrt(n));
  CHECK(std::abs(m3) < 4 * 3.88 / std::sqrt(n));
  CHECK(std::abs(m4 - 3) < 4 * 9.80 / std::sqrt(n));
  // Kolmogorov–Smirnov: sup |F_n − Φ| sqrt(n) exceeds 1.95 once in 1000 seeds
  std::sort(z.begin(), z.end());
  double sup = 0;
  for (size_t i = 0; i < n; ++i) {
    const double cdf = 0.5 * std::erfc(-z[i] / std::numbers::sqrt2);
    sup = std::max({sup, std::abs(cdf - static_cast<double>(i) / n), std::abs(cdf - static_cast<double>(i + 1) / n)});
  }
  CHECK(sup * std::sqrt(n) < 1.95);
}

TEST_CASE("rng: the four normals of a block are uncorrelated, within and across neighbors") {
  constexpr int n = 50000;
  double product[5] = {};
  for (int i = 0; i < n; ++i) {
    const auto a = normal4(random_words({1, 2, 3}, 0, 0, static_cast<uint64_t>(i)));
    const auto b = normal4(random_words({1, 2, 3}, 1, 0, static_cast<uint64_t>(i)));
    const float pairs[5] = {a[0] * a[1], a[0] * a[2], a[1] * a[3], a[0] * b[0],
                            (a[0] * a[0] - 1) * (a[1] * a[1] - 1) / 2};
    for (int k = 0; k < 5; ++k) product[k] += static_cast<double>(pairs[k]) / n;
  }
  for (double p : product) CHECK(std::abs(p) < 4.0 / std::sqrt(n));
}

TEST_CASE("rng: the bits of the normals are pinned, so that another compiler or device cannot drift unnoticed") {
  const auto z = normal4(random_words({2023, 1, 0}, 7, 3, 0));
  const std::array<double, 4> same = {static_cast<double>(z[0]), static_cast<double>(z[1]), static_cast<double>(z[2]),
                                      static_cast<double>(z[3])};
  const auto words = random_words({2023, 1, 0}, 7, 3, 0);
  for (size_t pair = 0; pair < 4; pair += 2) {  // against double precision: r has 2 ulp of log, sin and cos 2e-7
    const double u = ((words[pair] >> 8) + 1.0) * 0x1p-24, v = (words[pair + 1] >> 8) * 0x1p-24;
    const double r = std::sqrt(-2 * std::log(u));
    CHECK(same[pair] == doctest::Approx(r * std::cos(2 * std::numbers::pi * v)).epsilon(1e-6));
    CHECK(same[pair + 1] == doctest::Approx(r * std::sin(2 * std::numbers::pi * v)).epsilon(1e-6));
  }
  // FNV-1a over the bits of 4096 normals
  uint32_t hash = 2166136261u;
  for (uint64_t block = 0; block < 1024; ++block) {
    for (float v : normal4(random_words({2023, 1, 0}, 7, 3, block)))
      hash = (hash ^ std::bit_cast<uint32_t>(v)) * 16777619u;
  }
  CHECK(hash == 1720768335u);
}
