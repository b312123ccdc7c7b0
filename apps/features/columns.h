#pragma once
// What a file of features says of its images beside the features.

#include <functional>
#include <string>
#include <vector>

#include "apps/common/measure/feature_file.h"
#include "data/dataset.h"

namespace sked {

/// Columns as the data set `embeddings` reads them. Reads every label, name and target once.
///
///   ids                 U8 (L), UTF-8 with zeros behind it: `id` of the image
///   labels              I64 (), or of images with several labels U8 (K), 1 for each; none without classes
///   label_distribution  F32 (K): the known or human p(y | x) beside labels; soft labels alone
///
/// Throws Error for targets that are neither several labels nor shares that sum to one.
std::vector<FeatureColumn> columns_of(const Dataset& images, const std::function<std::string(int64_t)>& id);

/// A short name for all that the columns say of so many images.
std::string fingerprint_of(const std::vector<FeatureColumn>& columns, int64_t images);

}  // namespace sked
