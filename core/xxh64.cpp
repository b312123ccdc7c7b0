#include "core/xxh64.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cinttypes>
#include <cstdio>
#include <cstring>

namespace sked {
namespace {

constexpr uint64_t kPrime1 = 0x9E3779B185EBCA87, kPrime2 = 0xC2B2AE3D27D4EB4F, kPrime3 = 0x165667B19E3779F9,
                   kPrime4 = 0x85EBCA77C2B2AE63, kPrime5 = 0x27D4EB2F165667C5;

template <class Word>
uint64_t word_at(const unsigned char* bytes) {
  Word word;
  std::memcpy(&word, bytes, sizeof word);
  return word;
}

uint64_t round(uint64_t lane, uint64_t word) { return std::rotl(lane + word * kPrime2, 31) * kPrime1; }

/// Takes the whole blocks of 32 bytes, four lanes of 8; returns what is left.
const unsigned char* take_blocks(std::array<uint64_t, 4>& lanes, const unsigned char* at, const unsigned char* end) {
  for (; end - at >= 32; at += 32)
    for (size_t i = 0; i < 4; ++i) lanes[i] = round(lanes[i], word_at<uint64_t>(at + 8 * i));
  return at;
}

}  // namespace

Xxh64::Xxh64() : lanes_{kPrime1 + kPrime2, kPrime2, 0, 0 - kPrime1} {}

void Xxh64::add(const void* bytes, size_t count) {
  const auto* at = static_cast<const unsigned char*>(bytes);
  const auto* const end = at + count;
  const size_t held = count_ % rest_.size();
  count_ += count;
  if (held > 0) {
    const size_t more = std::min(count, rest_.size() - held);
    std::memcpy(rest_.data() + held, at, more);
    at += more;
    if (held + more < rest_.size()) return;
    take_blocks(lanes_, rest_.data(), rest_.data() + rest_.size());
  }
  at = take_blocks(lanes_, at, end);
  if (at < end) std::memcpy(rest_.data(), at, static_cast<size_t>(end - at));
}

uint64_t Xxh64::value() const {
  uint64_t hash = kPrime5;
  if (count_ >= rest_.size()) {
    hash = std::rotl(lanes_[0], 1) + std::rotl(lanes_[1], 7) + std::rotl(lanes_[2], 12) + std::rotl(lanes_[3], 18);
    for (const uint64_t lane : lanes_) hash = (hash ^ round(0, lane)) * kPrime1 + kPrime4;
  }
  hash += count_;
  const unsigned char *at = rest_.data(), *const end = at + count_ % rest_.size();
  for (; end - at >= 8; at += 8) hash = std::rotl(hash ^ round(0, word_at<uint64_t>(at)), 27) * kPrime1 + kPrime4;
  for (; end - at >= 4; at += 4) hash = std::rotl(hash ^ word_at<uint32_t>(at) * kPrime1, 23) * kPrime2 + kPrime3;
  for (; at < end; ++at) hash = std::rotl(hash ^ *at * kPrime5, 11) * kPrime1;
  hash = (hash ^ hash >> 33) * kPrime2;
  hash = (hash ^ hash >> 29) * kPrime3;
  return hash ^ hash >> 32;
}

std::string Xxh64::hex() const {
  char digits[17];
  std::snprintf(digits, sizeof digits, "%016" PRIx64, value());
  return digits;
}

uint64_t xxh64_value(const void* bytes, size_t count) {
  Xxh64 sum;
  sum.add(bytes, count);
  return sum.value();
}

std::string xxh64(const void* bytes, size_t count) {
  Xxh64 sum;
  sum.add(bytes, count);
  return sum.hex();
}

}  // namespace sked
