#pragma once
// IEEE 754 binary16 (numpy's float16, safetensors' F16), which nothing is computed in: how f32 becomes one
// and one becomes f32.

#include <bit>
#include <cstdint>

namespace sked {

/// The nearest half, of two the even one; an infinity from 65520 on.
inline uint16_t to_half(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value), magnitude = bits & 0x7fffffffU;
  const auto sign = static_cast<uint16_t>(bits >> 16 & 0x8000U);
  if (magnitude > 0x7f800000U) return sign | 0x7e00U;   // NaN
  if (magnitude >= 0x477ff000U) return sign | 0x7c00U;  // 65520, half way between the greatest half and 65536
  if (magnitude < 0x38800000U) {                        // below 2^-14: a multiple of 2^-24, rounded by the addition
    const float sum = std::bit_cast<float>(magnitude) + 0.5F;  // whose last place is that of 2^-24
    return static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(sum) - 0x3f000000U));
  }
  const uint32_t rounded = magnitude + 0xfffU + (magnitude >> 13 & 1U);  // 13 bits of fraction go
  return static_cast<uint16_t>(sign | (rounded - (uint32_t{127 - 15} << 23)) >> 13);
}

/// The same number, which f32 holds exactly; NaN stays NaN. Selects instead of branches, so that compilers vectorize
/// loops of it.
inline float from_half(uint16_t half) {
  const uint32_t exponent = half & 0x7c00U, shifted = (half & 0x7fffU) << 13;
  // Infinities and NaN take the rest of the wider exponent, others its bias; zero and subnormals are the part of
  // 2^-14 + fraction · 2^-24 above 2^-14.
  const uint32_t normal = shifted + (exponent == 0x7c00U ? uint32_t{255 - 31} << 23 : uint32_t{127 - 15} << 23);
  const float small = std::bit_cast<float>(shifted + (uint32_t{127 - 14} << 23)) - 0x1p-14F;
  const uint32_t magnitude = exponent == 0 ? std::bit_cast<uint32_t>(small) : normal;
  return std::bit_cast<float>(magnitude | (half & 0x8000U) << 16);
}

}  // namespace sked
