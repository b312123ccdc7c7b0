#include "core/rng.h"

namespace sked {

uint32_t Rng::below(uint32_t n) {
  // Lemire, "Fast random integer generation in an interval", ACM TOMACS 2019: the high half of word · n is uniform once
  // the 2^32 mod n smallest low halves are rejected.
  uint64_t product = uint64_t{next_u32()} * n;
  if (static_cast<uint32_t>(product) < n) {
    const uint32_t rejected = (0u - n) % n;
    while (static_cast<uint32_t>(product) < rejected) product = uint64_t{next_u32()} * n;
  }
  return static_cast<uint32_t>(product >> 32);
}

float Rng::normal() {
  const uint32_t u = next_u32();
  const uint32_t v = next_u32();
  return normal2(u, v).first;
}

}  // namespace sked
