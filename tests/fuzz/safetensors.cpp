#include "core/safetensors.h"

#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t count) {
  using namespace sked;
  return fuzz::with_file(bytes, count, [](const std::string& path) { load_safetensors(path); });
}
