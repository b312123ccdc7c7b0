#pragma once
// A short name for bytes: equal bytes have equal ones, and different bytes different ones but for bad luck (not for ill
// will).

#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>

namespace sked {

/// FNV-1a with 64 bits (Fowler, Noll and Vo; draft-eastlake-fnv).
class Fingerprint {
 public:
  void add(const void* bytes, size_t count) {
    const auto* b = static_cast<const unsigned char*>(bytes);
    for (size_t i = 0; i < count; ++i) hash_ = (hash_ ^ b[i]) * 0x100000001B3u;
  }
  /// With its length, so that "ab" + "c" is not "a" + "bc".
  void add(std::string_view text) {
    const uint64_t length = text.size();
    add(&length, sizeof length);
    add(text.data(), text.size());
  }
  uint64_t value() const { return hash_; }
  /// 16 hexadecimal digits.
  std::string hex() const {
    char digits[17];
    std::snprintf(digits, sizeof digits, "%016" PRIx64, hash_);
    return digits;
  }

 private:
  uint64_t hash_ = 0xCBF29CE484222325u;
};

}  // namespace sked
