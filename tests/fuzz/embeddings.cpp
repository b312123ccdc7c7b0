#include "data/embeddings.h"

#include "core/npy.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t count) {
  using namespace sked;
  fuzz::with_file(bytes, count, [](const std::string& path) {
    const StoredArray array = open_npy(path);
    if (array.rows() > 0 && array.holds_words()) array.word(array.rows() - 1);
  });
  return fuzz::with_file(bytes, count, [](const std::string& path) {
    const EmbeddingSplits splits = open_embeddings("fuzz", path);
    for (int64_t i = 0; i < splits.test->size(); ++i) {
      splits.test->image(i);
      splits.test->id(i);
      if (splits.test->has_targets()) splits.test->target(i);
    }
  });
}
