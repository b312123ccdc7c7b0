#pragma once
// The names other programs give to tensors of networks that this one has too: timm, torchvision, transformers (Hugging
// Face), and residual networks for CIFAR as they are commonly published.

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/safetensors.h"

namespace sked {

/// A tensor of a file, under a name of ours.
struct ForeignTensor {
  std::string given;           // its name in the file; the first one's where several were joined
  Tensor tensor;               // undefined for a dtype that is not read
  std::string skipped_dtype;   // then: which
  std::vector<int64_t> shape;  // known in any case

  /// Integers and booleans are counters, masks and indices.
  bool is_weight() const {
    return tensor.defined() ? is_floating(tensor.dtype()) : skipped_dtype[0] == 'F' || skipped_dtype[0] == 'C';
  }
};

/// What a file holds, by our names.
struct ForeignWeights {
  std::map<std::string, ForeignTensor> tensors;
  bool transformers_vit = false;  // has a vision transformer as transformers names it

  const ForeignTensor* find(const std::string& name) const {
    const auto found = tensors.find(name);
    return found == tensors.end() ? nullptr : &found->second;
  }
  bool has(const std::string& name) const { return tensors.contains(name); }
};

/// Gives every tensor its name among ours; one that has none keeps its own. `module.`, `_orig_mod.` and `model.`, which
/// wrappers put in front, go where all weights have them. Separate query, key and value become one qkv. Throws Error
/// naming `path` and both tensors where two come to one name.
ForeignWeights own_names(const TensorFile& file, const std::string& path);

}  // namespace sked
