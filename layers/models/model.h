#pragma once
// Backbones by name, with free sizes.

#include <memory>
#include <string>
#include <vector>

#include "layers/backbone.h"

namespace sked {

/// What a configuration says about a backbone. Zero, empty or "" means: as the named model has it.
/// Names: resnet20 | resnet32 | resnet44 | resnet56 (CIFAR, He et al., arXiv 1512.03385, section 4.2) ·
/// resnet18 | resnet34 | resnet50 | resnet101 | resnet152 (ImageNet, v1.5: stride on the 3×3) ·
/// bit-resnet50 | bit-resnet101 | bit-resnet152 (pre-activation, group norm, weight standardisation: arXiv 1912.11370)
/// · vit-ti | vit-s | vit-b | vit-l | vit-h (arXiv 2010.11929; pre-norm) · resnet-cifar | vit (free sizes, below).
struct ModelConfig {
  std::string name = "resnet20";
  // residual networks
  std::vector<int64_t> blocks = {};  // blocks per stage
  int64_t base_width = 0;            // channels of the first stage
  std::string stem = "";  // cifar: 3×3 stride 1 · cifar2: 3×3 stride 2 · imagenet: 7×7 stride 2 and max pooling
  // vision transformers
  int64_t patch = 0;  // patch edge in pixels (16; ViT-H: 14)
  int64_t width = 0, depth = 0, heads = 0, mlp = 0;
  std::string pool = "";       // token | gap
  std::string gelu = "";       // exact (timm's) | tanh (its approximation: flax's default)
  int64_t representation = 0;  // width of an extra tanh layer behind the pooling; 0: none
  double dropout = 0, drop_path = 0;
  // memory
  bool recompute = false;  // checkpoint every block
};

/// A backbone for images of `image_shape` (H,W,C). Throws UsageError naming the key for an unknown name (with the
/// nearest known one), sizes that do not divide, or settings of the other family.
std::unique_ptr<Backbone> make_backbone(const ModelConfig& config, const Shape& image_shape, Init& init);

}  // namespace sked
