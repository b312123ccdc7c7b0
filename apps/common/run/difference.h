#pragma once
// What one network has that another has not, in words.

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "apps/common/run/foreign_names.h"

namespace sked {

using Shapes = std::map<std::string, std::vector<int64_t>>;  // of tensors, by our names

/// A file's network beside a model. `unused` of the file and `missing` of the model are what keeps them apart, and the
/// names of tensors whose shapes differ.
struct Mismatch {
  const ForeignWeights& file;
  const Shapes& model;
  std::vector<std::string> unused, missing, unlike;  // our names, in order
};

/// One clause naming the first difference that there are words for, the tensor as the file has it, how many more there
/// are, and the key of the configuration that decides it; empty where nothing is apart. Sizes come first: `the file has
/// 3 blocks, model.depth is 2`.
std::string difference(const Mismatch& mismatch);

}  // namespace sked
