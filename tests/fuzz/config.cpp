#include "apps/common/config/config.h"

#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t count) {
  using namespace sked;
  try {
    const RunConfig config = parse_config({reinterpret_cast<const char*>(bytes), count}, "fuzz");
    validate(config);
    if (config_text(parse_config(config_text(config), "again")) != config_text(config)) std::abort();
  } catch (const Error&) {
  }
  return 0;
}
