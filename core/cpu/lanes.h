#pragma once
// Philox and Box–Muller on many counters at once. core/rng.h defines the numbers; these are the same ones, laid out so
// that a compiler turns each step into vector instructions (measured: 2 ns a normal on one 2.6 GHz core, against 17 one
// by one).

#include <array>
#include <cstdint>

#include "core/rng.h"

namespace sked::cpu {

inline constexpr int64_t kLanes = 64;

/// 64 counters or, after philox(), 64 blocks of four words: word[w][lane].
struct Lanes {
  alignas(64) uint32_t word[4][kLanes];
};

/// Every lane's counter becomes its four random words.
inline void philox(Lanes& lanes, std::array<uint32_t, 2> key) {
  uint32_t *c0 = lanes.word[0], *c1 = lanes.word[1], *c2 = lanes.word[2], *c3 = lanes.word[3];
  for (int round = 0; round < 10; ++round, philox_advance(key)) {
#pragma omp simd
    for (int64_t i = 0; i < kLanes; ++i) philox_round(c0[i], c1[i], c2[i], c3[i], key);
  }
}

/// z[4 lane + w]: the normals of every lane's words, as normal4() pairs them.
inline void normals(const Lanes& lanes, float* z) {
  alignas(64) float part[4][kLanes];
  for (int64_t pair = 0; pair < 4; pair += 2) {
    const uint32_t *u = lanes.word[pair], *v = lanes.word[pair + 1];
    float *first = part[pair], *second = part[pair + 1];
#pragma omp simd
    for (int64_t i = 0; i < kLanes; ++i) {
      const NormalPair n = normal2(u[i], v[i]);
      first[i] = n.first;
      second[i] = n.second;
    }
  }
#pragma omp simd
  for (int64_t i = 0; i < kLanes; ++i) {
    for (int64_t w = 0; w < 4; ++w) z[4 * i + w] = part[w][i];
  }
}

}  // namespace sked::cpu
