#include "apps/replicate/curve.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t count) {
  sked::periodic_values({reinterpret_cast<const char*>(bytes), count}, "nll");
  return 0;
}
