#pragma once
// XXH64, a checksum at the speed of memory (Collet, https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md):
// finds damage, not ill will.

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

namespace sked {

/// XXH64 with seed 0 of bytes that come in pieces, however they are cut.
class Xxh64 {
 public:
  Xxh64();
  void add(const void* bytes, size_t count);
  /// Of all that was added; more may follow.
  uint64_t value() const;
  /// As 16 hexadecimal digits.
  std::string hex() const;

 private:
  std::array<uint64_t, 4> lanes_;
  std::array<unsigned char, 32> rest_{};  // the first count_ mod 32: bytes that fill no lane yet
  uint64_t count_ = 0;
};

/// Of `count` bytes at once; the same as 16 hexadecimal digits.
uint64_t xxh64_value(const void* bytes, size_t count);
std::string xxh64(const void* bytes, size_t count);

}  // namespace sked
