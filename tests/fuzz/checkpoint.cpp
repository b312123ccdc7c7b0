// What a checkpoint carries as text: the input is the entries config, state and data, with a NUL between them, put into
// a file without checksums (no mutation would get past those).
#include "apps/common/run/checkpoint.h"

#include <nlohmann/json.hpp>

#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t count) {
  using namespace sked;
  const char* keys[] = {"config", "state", "data"};
  nlohmann::json metadata;
  size_t at = 0;
  for (const char* key : keys) {
    std::string text;
    while (at < count && bytes[at] != 0) text.push_back(static_cast<char>(bytes[at++]));
    if (!text.empty()) metadata[key] = text;
    ++at;
  }
  std::string header =
      nlohmann::json{{"__metadata__", metadata}}.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  if (metadata.is_null()) header = "{}";
  const uint64_t length = header.size();
  header.insert(0, reinterpret_cast<const char*>(&length), sizeof length);
  return fuzz::with_file(reinterpret_cast<const uint8_t*>(header.data()), header.size(),
                         [](const std::string& path) { read_checkpoint(path); });
}
