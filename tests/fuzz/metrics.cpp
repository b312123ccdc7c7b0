#include "apps/replicate/curve.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t count) {
  sked::periodic_evaluations(std::string_view(reinterpret_cast<const char*>(bytes), count));
  return 0;
}
