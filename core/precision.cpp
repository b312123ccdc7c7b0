#include "core/precision.h"

#include <atomic>

#include "core/error.h"

namespace sked {
namespace {

std::atomic<Precision> current{Precision::f32};

}  // namespace

Precision product_precision() { return current; }

void set_product_precision(Precision precision) { current = precision; }

Precision parse_precision(const std::string& text) {
  for (const Precision p : {Precision::f32, Precision::tf32, Precision::bf16})
    if (text == name(p)) return p;
  throw UsageError("[precision] expected f32, tf32 or bf16, got " + text);
}

}  // namespace sked
