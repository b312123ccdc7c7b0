#pragma once
// Entries of a checkpoint's metadata.

#include <optional>
#include <string>

#include "core/error.h"
#include "core/safetensors.h"

namespace sked {

/// read(text, key) of the entry `key`; nothing where there is none. What `read` throws as a UsageError is wrong with
/// the file, not with anybody's usage: an Error naming `path`.
template <class Read>
auto read_entry(const TensorFile& file, const std::string& path, const std::string& key, Read read)
    -> std::optional<decltype(read(std::string(), std::string()))> {
  const auto found = file.metadata.find(key);
  if (found == file.metadata.end()) return std::nullopt;
  try {
    return read(found->second, key);
  } catch (const UsageError& error) {
    fail("checkpoint", path, ": ", error.what());
  }
}

}  // namespace sked
