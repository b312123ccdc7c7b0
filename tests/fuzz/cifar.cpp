#include "data/cifar.h"

#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t count) {
  using namespace sked;
  // the length of one record, so that more than the length is looked at
  std::string record(reinterpret_cast<const char*>(bytes), count);
  if (!record.empty() && record[0] % 2 == 0) record.resize(3073);
  return fuzz::with_file(reinterpret_cast<const uint8_t*>(record.data()), record.size(),
                         [](const std::string& path) { load_cifar10({path}, 1); });
}
