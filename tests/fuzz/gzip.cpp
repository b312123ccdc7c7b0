#include "core/gzip.h"

#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t count) {
  using namespace sked;
  try {
    gunzip({reinterpret_cast<const char*>(bytes), count}, "fuzz", 1 << 24);
  } catch (const Error&) {
  }
  return 0;
}
