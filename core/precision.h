#pragma once
// What matrix products and convolutions are computed in, and whether a run must repeat itself bit for bit: for the
// whole process.

#include <ostream>
#include <string>

#include "core/device.h"
#include "core/dtype.h"

namespace sked {

/// f32: IEEE single throughout. tf32: factors rounded to 10 bits of fraction. bf16: factors rounded to bf16 (7 bits),
/// of matrix products and, on the CPU, of convolutions (a GPU's stay f32 for f32 tensors). Sums are f32 in all three.
/// Of tensors in f32 only products are rounded; a network's activations may be stored in bf16 beside f32 weights
/// (activation_dtype). Devices without a faster mode compute in f32.
enum class Precision { f32, tf32, bf16 };

constexpr const char* name(Precision p) {
  return p == Precision::f32 ? "f32" : (p == Precision::tf32 ? "tf32" : "bf16");
}
inline std::ostream& operator<<(std::ostream& out, Precision p) { return out << name(p); }

/// Does this device compute in that precision on this machine? f32 everywhere; others where a backend offered them.
bool offers(Device device, Precision precision);
/// Says so, at start-up. Returns true, to be called from an initializer.
bool offer(Device device, Precision precision);

/// f32 until it is set.
Precision product_precision();
/// Not while kernels run on another thread.
void set_product_precision(Precision precision);

/// What suits a network's activations there (Context::activations): bf16 where products are in bf16 and the device has
/// instructions for them, else f32.
DType activation_dtype(Device device);

/// Throws UsageError unless `text` names one.
Precision parse_precision(const std::string& text);

/// Must kernels sum in the same order every time? False until it is set: a library may then take a faster algorithm
/// whose sums vary in their last bits from run to run (cuDNN on a GPU; our own kernels never do).
bool deterministic();
/// Not while kernels run on another thread.
void set_deterministic(bool wanted);

}  // namespace sked
