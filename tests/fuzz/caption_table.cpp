// Tables of image-text pairs. The table lies among the descriptors of the process: `1` is an image that is there.
#include "data/image_collection.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t count) {
  using namespace sked;
  return fuzz::with_file(bytes, count, [](const std::string& path) { load_caption_table("fuzz", path); });
}
