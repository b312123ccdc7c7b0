#pragma once
// What matrix products and convolutions of f32 tensors are computed in, for the whole process.

#include <ostream>
#include <string>

namespace sked {

/// f32: IEEE single throughout. tf32: factors rounded to 10 bits of fraction. bf16: factors rounded to bf16 (7 bits),
/// of matrix products only: convolutions then stay f32. Sums are f32 in all three, and so are the tensors: only
/// products are rounded. Devices without a faster mode compute in f32.
enum class Precision { f32, tf32, bf16 };

constexpr const char* name(Precision p) {
  return p == Precision::f32 ? "f32" : (p == Precision::tf32 ? "tf32" : "bf16");
}
inline std::ostream& operator<<(std::ostream& out, Precision p) { return out << name(p); }

/// f32 until it is set.
Precision product_precision();
/// Not while kernels run on another thread.
void set_product_precision(Precision precision);

/// Throws UsageError unless `text` names one.
Precision parse_precision(const std::string& text);

}  // namespace sked
