#pragma once
// Vision transformers and heteroscedastic heads as flax programs keep them: google-research/vision_transformer and
// big_vision, google/uncertainty-baselines with google/edward2's layers.

#include <cstdint>
#include <string>
#include <vector>

#include "apps/common/run/foreign_tensor.h"

namespace sked {

/// Where `names` has a vision transformer of flax (`embedding/kernel`, `Transformer/encoder_norm/scale`), alone or
/// below `params/`, `opt/target/`, `target/` and `img/` of those: leaves the network's tensors alone (the optimizer's
/// state and a text tower go), gives them names of ours, in `names`, and their layout:
///
///   kernels              (in ..., out ...) become (out, in); of patches (p,p,C,D) become (D,C,p,p)
///   query, key, value    (D,heads,D/heads) and their biases (heads,D/heads) become (D,D) and (D)
///   stacked blocks       `encoderblock/...` (depth, ...) become one tensor for each block
///   edward2's heads      loc_layer is the classifier; diag_layer d(x), scale_layer V(x), scale_layer_heteroscedastic
///                        v(x), scale_layer_homoscedastic V and its bias; pre_sigmoid_temperature t
///
/// Returns the number of heads; 0, and all as it was, where there is no such network. Throws Error naming `path` and
/// the tensor for patches of other than four axes and a query of other than three.
int64_t from_flax(std::vector<ForeignTensor>& all, std::vector<std::string>& names, const std::string& path);

}  // namespace sked
