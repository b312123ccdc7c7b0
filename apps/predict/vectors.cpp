#include "apps/predict/vectors.h"

#include <filesystem>
#include <optional>

#include "apps/common/config/progress.h"
#include "core/error.h"
#include "core/npy.h"
#include "core/safetensors.h"
#include "data/embeddings.h"

namespace sked {
namespace {

constexpr const char* kName = "predict";

EmbeddingColumns columns_of(const std::string& path) {
  const StoredTensors file = open_safetensors(path);
  const auto find = [&](const char* name) {
    const auto found = file.tensors.find(name);
    return found == file.tensors.end() ? std::nullopt : std::optional(found->second);
  };
  const std::optional<StoredArray> features = find("features");
  require(features.has_value(), kName, path, ": no `features`");
  return {.features = *features, .scale = find("scale"), .ids = find("ids")};
}

}  // namespace

std::shared_ptr<const Dataset> vectors_of(const std::string& path) {
  std::error_code unreadable;
  if (std::filesystem::is_regular_file(path, unreadable)) {
    if (path.ends_with(".npy"))
      return std::make_shared<Embeddings>(kName, std::vector<std::string>{},
                                          EmbeddingColumns{.features = open_npy(path)});
    require(path.ends_with(".safetensors"), kName, path,
            ": the model is for vectors: expected FILE.safetensors, FILE.npy or a folder of these");
    return std::make_shared<Embeddings>(kName, std::vector<std::string>{}, columns_of(path));
  }
  const EmbeddingSplits splits = open_embeddings(kName, path);
  for (const std::string& line : splits.notes) note(line);
  return splits.test;
}

}  // namespace sked
