#pragma once
// Addressed randomness: every random number is a pure function of where it is used, so CPU and GPU, one worker and
// many, a fresh run and a resumed one draw the same numbers, and noise is regenerated instead of stored.

#include <array>
#include <cstddef>
#include <cstdint>

#include "core/math.h"

namespace sked {

/// One round of Philox: a keyed bijection of the 128-bit counter c0 … c3.
constexpr void philox_round(uint32_t& c0, uint32_t& c1, uint32_t& c2, uint32_t& c3, std::array<uint32_t, 2> key) {
  const uint64_t p0 = uint64_t{0xD2511F53u} * c0;
  const uint64_t p1 = uint64_t{0xCD9E8D57u} * c2;
  c0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ key[0];
  c2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ key[1];
  c1 = static_cast<uint32_t>(p1);
  c3 = static_cast<uint32_t>(p0);
}

/// The key of the next round.
constexpr void philox_advance(std::array<uint32_t, 2>& key) { key = {key[0] + 0x9E3779B9u, key[1] + 0xBB67AE85u}; }

/// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011): ten rounds. `constexpr` so
/// that device code may call it as well.
constexpr std::array<uint32_t, 4> philox(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round, philox_advance(key)) {
    philox_round(counter[0], counter[1], counter[2], counter[3], key);
  }
  return counter;
}

/// Where a family of random numbers is used. `stream` tells apart the users of one seed (a module's initialization,
/// a dropout layer, a head's noise, the augmentation …); `step` is the training step, epoch or 0.
struct RngAddress {
  uint64_t seed = 0;
  uint64_t stream = 0;
  uint64_t step = 0;

  /// The 64-bit Philox key: seed and stream mixed by SplitMix64, so that near seeds give unrelated keys.
  constexpr std::array<uint32_t, 2> key() const {
    const uint64_t k = splitmix(seed ^ splitmix(stream));
    return {static_cast<uint32_t>(k), static_cast<uint32_t>(k >> 32)};
  }

  static constexpr uint64_t splitmix(uint64_t x) {
    x += 0x9E3779B97F4A7C15u;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
  }
};

/// The four 32-bit words for (address, example, sample, coordinates 4·block … 4·block+3), by the address's key and
/// step. Counter layout, low to high: block, sample, example, step, each reduced mod 2^32.
constexpr std::array<uint32_t, 4> random_words(std::array<uint32_t, 2> key, uint64_t step, uint64_t example,
                                               uint64_t sample, uint64_t block) {
  return philox({static_cast<uint32_t>(block), static_cast<uint32_t>(sample), static_cast<uint32_t>(example),
                 static_cast<uint32_t>(step)},
                key);
}
constexpr std::array<uint32_t, 4> random_words(const RngAddress& address, uint64_t example, uint64_t sample,
                                               uint64_t block) {
  return random_words(address.key(), address.step, example, sample, block);
}

/// A word as a uniform number in [0, 1), a multiple of 2^-24.
constexpr float uniform01(uint32_t word) { return static_cast<float>(static_cast<int32_t>(word >> 8)) * 0x1p-24f; }

struct NormalPair {
  float first, second;
};

/// Two independent standard normals from two words (Box & Muller 1958): r = sqrt(-2 ln u), (r cos 2πv, r sin 2πv) with
/// u in (0, 1], v in [0, 1). Built from math.h's exact-order log and sincos, so the same words give the same bits on
/// every device.
constexpr NormalPair normal2(uint32_t u_word, uint32_t v_word) {
  const float u = static_cast<float>(static_cast<int32_t>((u_word >> 8) + 1u)) * 0x1p-24f;
  const float r = math::sqrt(-2.0f * math::log_exact(u));
  const math::SinCos a = math::sincos2pi_exact(uniform01(v_word));
  return {r * a.cos, r * a.sin};
}

/// Four independent standard normals from four words, two per pair of words.
constexpr std::array<float, 4> normal4(std::array<uint32_t, 4> words) {
  const NormalPair low = normal2(words[0], words[1]), high = normal2(words[2], words[3]);
  return {low.first, low.second, high.first, high.second};
}

/// A sequential reader of one address, for host code that needs "the next" number: permutations, augmentation, noise
/// on labels, initialization. `example` and `sample` select the sequence.
class Rng {
 public:
  explicit Rng(RngAddress address, uint64_t example = 0, uint64_t sample = 0)
      : address_(address), example_(example), sample_(sample) {}

  uint32_t next_u32() {
    if (used_ == 4) {
      words_ = random_words(address_, example_, sample_, block_++);
      used_ = 0;
    }
    return words_[static_cast<size_t>(used_++)];
  }
  /// Uniform in [0, 1).
  float uniform() { return uniform01(next_u32()); }
  /// Uniform in 0 … n-1 without modulo bias (Lemire 2019); n > 0.
  uint32_t below(uint32_t n);
  /// Standard normal.
  float normal();

 private:
  RngAddress address_;
  uint64_t example_, sample_, block_ = 0;
  std::array<uint32_t, 4> words_{};
  int used_ = 4;
};

}  // namespace sked
