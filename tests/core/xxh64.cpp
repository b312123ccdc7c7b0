#include "core/xxh64.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <vector>

namespace sked {

/// Answers of the reference implementation (python: xxhash.xxh64(bytes((i * i * 7 + i) % 251 for i in range(n)))).
TEST_CASE("xxh64: as the reference implementation, for every kind of length") {
  const std::vector<std::pair<size_t, const char*>> answers{
      {0, "ef46db3751d8e999"},  {1, "e934a84adb052768"},  {3, "0a8b0eaaa44d36dc"},   {4, "a52c40dc1e458cb4"},
      {7, "2a5fe019bc716223"},  {8, "2bc9f117fe5c541d"},  {31, "208e23eac0ee3fa5"},  {32, "da7d7a4231ee2ac0"},
      {33, "f7ced3acea35cc81"}, {63, "b9c09db4ad1aa601"}, {100, "0a4f11d0b53909a7"}, {1000, "93b17183e46861be"}};
  std::vector<unsigned char> bytes;
  for (size_t i = 0; i < 1000; ++i) bytes.push_back(static_cast<unsigned char>((i * i * 7 + i) % 251));
  for (const auto& [count, answer] : answers) CHECK(xxh64(bytes.data(), count) == answer);
  for (size_t piece = 1; piece < 80; ++piece) {  // in pieces of any size
    Xxh64 sum;
    for (size_t at = 0; at < 1000; at += piece) sum.add(bytes.data() + at, std::min(piece, 1000 - at));
    CHECK(sum.hex() == "93b17183e46861be");
  }
  for (size_t bit = 0; bit < 8 * 100; ++bit) {
    bytes[bit / 8] ^= static_cast<unsigned char>(1 << bit % 8);
    CHECK(xxh64(bytes.data(), 100) != "0a4f11d0b53909a7");
    bytes[bit / 8] ^= static_cast<unsigned char>(1 << bit % 8);
  }
}

}  // namespace sked
