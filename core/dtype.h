#pragma once
// Element types of tensors, and the two places they are dispatched on.

#include <bit>
#include <cstddef>
#include <cstdint>
#include <ostream>
#include <type_traits>
#include <utility>

#include "core/error.h"

namespace sked {

/// bfloat16: the upper half of a float. Storage only; arithmetic happens in float.
struct bf16 {
  uint16_t bits = 0;

  bf16() = default;
  /// Rounds to nearest, ties to even; NaN stays NaN.
  constexpr explicit bf16(float value) { round(value); }
  constexpr void round(float value) {
    const uint32_t u = std::bit_cast<uint32_t>(value);
    const bool is_nan = (u & 0x7fffffffu) > 0x7f800000u;
    bits = static_cast<uint16_t>(is_nan ? (u >> 16) | 0x40u : (u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
  }
  constexpr explicit operator float() const { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }
};

/// f32: training. bf16: fast compute and storage. i64: labels and indices. u8: images. f64: gradient checks, CPU only.
enum class DType : uint8_t { f32, bf16, i64, u8, f64 };

/// Size of one element in bytes.
constexpr size_t size_of(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return 4;
    case DType::bf16:
      return 2;
    case DType::i64:
      return 8;
    case DType::u8:
      return 1;
    case DType::f64:
      return 8;
  }
  return 0;
}

constexpr const char* name(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return "f32";
    case DType::bf16:
      return "bf16";
    case DType::i64:
      return "i64";
    case DType::u8:
      return "u8";
    case DType::f64:
      return "f64";
  }
  return "?";
}

inline std::ostream& operator<<(std::ostream& out, DType dtype) { return out << name(dtype); }

constexpr bool is_floating(DType dtype) { return dtype == DType::f32 || dtype == DType::bf16 || dtype == DType::f64; }

/// The dtype of elements of type T; any other T does not compile.
template <class T>
inline constexpr DType dtype_of = T::not_an_element_type;
template <>
inline constexpr DType dtype_of<float> = DType::f32;
template <>
inline constexpr DType dtype_of<bf16> = DType::bf16;
template <>
inline constexpr DType dtype_of<int64_t> = DType::i64;
template <>
inline constexpr DType dtype_of<uint8_t> = DType::u8;
template <>
inline constexpr DType dtype_of<double> = DType::f64;

/// Calls f(T{}) with T = float or double, the types arithmetic is done in; throws for any other dtype.
template <class F>
decltype(auto) visit_float(DType dtype, std::string_view where, F&& f) {
  if (dtype == DType::f64) return f(double{});
  require(dtype == DType::f32, where, "expected f32 or f64, got ", dtype);
  return f(float{});
}

/// What arithmetic on elements of T is done in.
template <class T>
using Arithmetic = std::conditional_t<std::is_same_v<T, bf16>, float, T>;

/// to = value. A loop that makes a bf16 and then copies it to its place is not vectorized (GCC 12); this one is.
template <class T>
constexpr void store(Arithmetic<T> value, T& to) {
  if constexpr (std::is_same_v<T, bf16>)
    to.round(value);
  else
    to = value;
}

/// Calls f(T{}) with T = float, double or bf16: for those who read elements as Arithmetic<T>(x) and write them by
/// store().
template <class F>
decltype(auto) visit_stored(DType dtype, std::string_view where, F&& f) {
  if (dtype == DType::bf16) return f(bf16{});
  return visit_float(dtype, where, std::forward<F>(f));
}

/// Calls f(T{}) with the element type of any dtype.
template <class F>
decltype(auto) visit_any(DType dtype, F&& f) {
  switch (dtype) {
    case DType::bf16:
      return f(bf16{});
    case DType::i64:
      return f(int64_t{});
    case DType::u8:
      return f(uint8_t{});
    case DType::f64:
      return f(double{});
    default:
      return f(float{});
  }
}

}  // namespace sked
