// Vocabularies, and captions run through those that are taken. The library is not instrumented: what it would do wrong
// shows as a crash, or as reads that AddressSanitizer's allocator makes visible.
#include "data/tokenizer.h"

#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t count) {
  using namespace sked;
  if (!can_tokenize()) return 0;
  return fuzz::with_file(bytes, count, [](const std::string& path) {
    const Tokenizer tokenizer = Tokenizer::load(path);
    const TokenBatch batch =
        tokenizer.encode({"A PHOTO of e\u0300, \u00bd \ufb01 <s>", "aaaaaaaaaaaaaaaaaaaa"}, 64, true);
    tokenizer.decode(batch.ids.to_vector<int64_t>());
  });
}
