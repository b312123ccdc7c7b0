#pragma once
// What a file of weights tells about its network beyond their sizes.

#include <string>
#include <vector>

#include "core/safetensors.h"
#include "layers/models/model.h"

namespace sked {

/// Fills in the settings that `model` leaves at their defaults and that names and shapes of the file's tensors decide:
///
///   vision transformers   pool, class_token, norm, positions, registers, layer_scale, qk_norm, pre_norm,
///                         representation; norm_eps for files of transformers, whose networks have 1e-12
///                         of flax programs heads and gelu, and with the name `vit` patch, width, depth, mlp
///   residual networks     shortcut, stem (deep), groups and width_per_group
///
/// and, where its metadata has the configuration of a run of this program, what those do not: pool, gelu, norm_eps,
/// heads, stem. Returns a line for each, such as `model.layer_scale = 1e-05 (blocks.0.ls1.gamma)`: any value above 0
/// makes the tensors that the file then fills. What a file cannot tell stays as configured: heads, gelu, other
/// norm_eps, whether a network with a class token and `norm` reads the token or the mean (by default the token).
/// `image_shape` (H,W,C) tells the tokens with position embeddings where the numbers alone would not; of vectors (D)
/// nothing is followed.
///
/// Throws Error naming `path`, the key and both values where a setting contradicts the file or has to be made; with
/// `partial`, settings stand. A file of another family of networks than the model's is left to load_initial.
std::vector<std::string> follow_file(ModelConfig& model, const TensorFile& file, const std::string& path,
                                     const Shape& image_shape, bool partial = false);

}  // namespace sked
