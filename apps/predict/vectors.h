#pragma once
// Vectors to predict from: the rows of a file, which need no labels.

#include <memory>
#include <string>

#include "data/dataset.h"

namespace sked {

/// All rows of FILE.safetensors (`features`, perhaps `scale` and `ids`) or FILE.npy (features alone), or the test part
/// of a folder or prefix as open_embeddings() takes them: of one without parts all rows. Throws Error naming the file
/// for one that is neither, and what Embeddings and open_embeddings() refuse.
std::shared_ptr<const Dataset> vectors_of(const std::string& path);

}  // namespace sked
