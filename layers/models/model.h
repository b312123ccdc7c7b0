#pragma once
// Backbones by name, with free sizes.

#include <memory>
#include <string>
#include <vector>

#include "layers/backbone.h"
#include "layers/models/options.h"

namespace sked {

/// The names of backbones but for those of a form, wide-resnet<depth>-<factor>.
std::vector<std::string> known_backbones();

/// The configuration with what its name stands for written out, where it says nothing itself: equal ones make equal
/// networks. Of residual networks stem, shortcut, groups and width_per_group, of transformers heads, pool, class_token,
/// norm, positions, norm_eps and gelu, of mlp activation. Throws UsageError for a name that is not known.
ModelConfig written_out(const ModelConfig& config);

/// A backbone for images of `image_shape` (H,W,C), or for vectors (D). Throws UsageError naming the key for an
/// unknown name (with the nearest known one), sizes that do not divide, or settings of another family.
std::unique_ptr<Backbone> make_backbone(const ModelConfig& config, const Shape& image_shape, Init& init);

}  // namespace sked
