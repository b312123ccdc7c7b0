#include "data/transforms.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t count) {
  using namespace sked;
  try {
    const Pipeline pipeline = Pipeline::parse({reinterpret_cast<const char*>(bytes), count});
    const Tensor image = Tensor::full({9, 7, 3}, 100.0, DType::u8);
    if (pipeline.output_shape(image.shape()).numel() > 1 << 16) return 0;
    Rng rng({1, 2, 3});
    pipeline.apply(image, rng);
  } catch (const Error&) {
  }
  return 0;
}
