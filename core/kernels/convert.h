#pragma once
// From one element type to another, the same on every device.

#include <cstdint>
#include <limits>
#include <type_traits>

#include "core/dtype.h"

namespace sked {

/// One element to another type: bf16 by way of float, integers towards zero and clamped to their range (NaN becomes 0).
template <class To, class From>
constexpr To convert(From value) {
  if constexpr (std::is_same_v<To, From>) {
    return value;
  } else if constexpr (std::is_same_v<From, bf16>) {
    return convert<To>(static_cast<float>(value));
  } else if constexpr (std::is_same_v<To, bf16>) {
    return bf16(static_cast<float>(value));
  } else if constexpr (std::is_floating_point_v<To>) {
    return static_cast<To>(value);
  } else if constexpr (std::is_floating_point_v<From>) {
    using Limits = std::numeric_limits<To>;
    // 2^63 is the first double beyond int64, and -2^63 the last within.
    constexpr double beyond = std::is_same_v<To, int64_t> ? 0x1p63 : 256.0;
    const auto wide = static_cast<double>(value);
    if (wide != wide) return To{0};
    if (wide >= beyond) return Limits::max();
    if (wide <= static_cast<double>(Limits::min())) return Limits::min();
    return static_cast<To>(wide);
  } else {
    const auto wide = static_cast<int64_t>(value);  // i64 to u8; u8 to i64 is within anyway
    return static_cast<To>(wide < 0 ? 0 : (wide > 255 ? 255 : wide));
  }
}

}  // namespace sked
