#include "apps/bench/bare.h"
#include "core/error.h"

namespace sked::bench {

void bare_decode(const EncodedImage& file, int64_t, uint8_t*) {
  fail("bench", file.source, ": this program was built without libjpeg (make deps, then make)");
}

}  // namespace sked::bench
