#include "data/idx.h"

#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t count) {
  using namespace sked;
  fuzz::with_file(bytes, count, [](const std::string& path) { load_idx_images(path); });
  return fuzz::with_file(bytes, count, [](const std::string& path) { load_idx_labels(path, 10); });
}
