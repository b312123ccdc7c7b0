#pragma once
// The names other programs give to tensors of networks that this one has too: timm, torchvision, transformers (Hugging
// Face), flax (flax_names.h), and residual networks for CIFAR as they are commonly published.

#include <cstdint>
#include <map>
#include <string>

#include "apps/common/run/foreign_tensor.h"
#include "core/safetensors.h"

namespace sked {

/// What a file holds, by our names.
struct ForeignWeights {
  std::map<std::string, ForeignTensor> tensors;
  bool transformers_vit = false;  // has a vision transformer as transformers names it
  int64_t flax_heads = 0;         // has one as flax programs name it, of so many heads; 0: has not

  const ForeignTensor* find(const std::string& name) const {
    const auto found = tensors.find(name);
    return found == tensors.end() ? nullptr : &found->second;
  }
  bool has(const std::string& name) const { return tensors.contains(name); }
};

/// Gives every tensor its name among ours; one that has none keeps its own. `module.`, `_orig_mod.` and `model.`, which
/// wrappers put in front, go where all weights have them. Separate query, key and value become one qkv. What
/// flax programs name gets the layout of ours too (flax_names.h). Throws Error
/// naming `path` and both tensors where two come to one name.
ForeignWeights own_names(const TensorFile& file, const std::string& path);

}  // namespace sked
