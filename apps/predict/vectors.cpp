#include "apps/predict/vectors.h"

#include <filesystem>
#include <utility>

#include "apps/common/config/progress.h"
#include "core/error.h"
#include "core/npy.h"
#include "data/embeddings.h"

namespace sked {
namespace {

constexpr const char* kName = "predict";

}  // namespace

std::shared_ptr<const Dataset> vectors_of(const std::string& path) {
  std::error_code unreadable;
  if (std::filesystem::is_regular_file(path, unreadable)) {
    if (path.ends_with(".npy"))
      return std::make_shared<Embeddings>(kName, std::vector<std::string>{},
                                          EmbeddingColumns{.features = open_npy(path)});
    require(path.ends_with(".safetensors"), kName, path,
            ": the model is for vectors: expected FILE.safetensors, FILE.npy or a folder of these");
    EmbeddingColumns columns = embedding_columns(path);
    columns.labels.reset();  // nobody's classes here
    columns.distributions.reset();
    return std::make_shared<Embeddings>(kName, std::vector<std::string>{}, std::move(columns));
  }
  const EmbeddingSplits splits = open_embeddings(kName, path);
  for (const std::string& line : splits.notes) note(line);
  return splits.test;
}

}  // namespace sked
