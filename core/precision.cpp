#include "core/precision.h"

#include <atomic>
#include <set>
#include <utility>

#include "core/error.h"

namespace sked {
namespace {

std::atomic<Precision> current{Precision::f32};
std::atomic<bool> repeats_itself{false};

/// A function's static: backends offer while other files' statics are being made.
std::set<std::pair<Device, Precision>>& offered() {
  static std::set<std::pair<Device, Precision>> all;
  return all;
}

}  // namespace

bool offers(Device device, Precision precision) {
  return precision == Precision::f32 || offered().contains({device, precision});
}

bool offer(Device device, Precision precision) {
  offered().insert({device, precision});
  return true;
}

Precision product_precision() { return current; }

void set_product_precision(Precision precision) { current = precision; }

DType activation_dtype(Device device) {
  return current == Precision::bf16 && offers(device, current) ? DType::bf16 : DType::f32;
}

Precision parse_precision(const std::string& text) {
  for (const Precision p : {Precision::f32, Precision::tf32, Precision::bf16})
    if (text == name(p)) return p;
  throw UsageError("[precision] expected f32, tf32 or bf16, got " + text);
}

bool deterministic() { return repeats_itself; }

void set_deterministic(bool wanted) { repeats_itself = wanted; }

}  // namespace sked
