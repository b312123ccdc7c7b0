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
/// resnext50-32x4d | resnext101-32x8d | resnext101-64x4d (groups: arXiv 1611.05431) · wide-resnet50-2 |
/// wide-resnet101-2 (twice the channels in the 3×3: arXiv 1605.07146) · resnet50-d | resnet101-d (deep stem, shortcut
/// avg: arXiv 1812.01187) · bit-resnet50 | bit-resnet101 | bit-resnet152 and, with that many times the channels,
/// bit-resnet50x3 | bit-resnet101x3 | bit-resnet152x2 | bit-resnet152x4 (pre-activation, group norm, weight
/// standardization: arXiv 1912.11370) · vit-ti | vit-s | vit-b | vit-l | vit-h (arXiv 2010.11929; pre-norm) ·
/// resnet-cifar | vit (free sizes, below).
struct ModelConfig {
  std::string name = "resnet20";
  // residual networks
  std::vector<int64_t> blocks = {};  // blocks per stage
  int64_t base_width = 0;            // channels of the first stage
  /// cifar: 3×3 stride 1 · cifar2: 3×3 stride 2 · imagenet: 7×7 stride 2 and max pooling · deep: three 3×3, the first
  /// of stride 2, and max pooling (ResNet-C and -D, arXiv 1812.01187).
  std::string stem = "";
  /// Where a block changes shape. conv: 1×1 convolution (option B of He et al.) · pad: every other pixel, zero channels
  /// on both sides, no parameters (their option A) · avg: 2×2 mean, then 1×1 convolution (ResNet-D).
  std::string shortcut = "";
  /// Of a bottleneck's 3×3: groups, and channels of each in the first stage when base_width is 64 (ResNeXt, arXiv
  /// 1611.05431; wide networks).
  int64_t groups = 0, width_per_group = 0;
  // vision transformers
  int64_t patch = 0;  // patch edge in pixels (16; ViT-H: 14)
  int64_t width = 0, depth = 0, heads = 0, mlp = 0;
  std::string pool = "";         // token | gap | map (attention with one learned query: arXiv 2106.04560, SigLIP)
  std::string class_token = "";  // yes | no; by default with pool = token alone
  std::string norm = "";         // the last norm, of tokens (`norm`) | of what is pooled (`fc_norm`; default for gap)
  std::string positions = "";    // all tokens have position embeddings | patches alone (timm's no_embed_class)
  int64_t registers = 0;         // register tokens (arXiv 2309.16588)
  double layer_scale = 0;        // factor of each branch at the start (arXiv 2103.17239); 0: none
  bool qk_norm = false;          // layer norm of queries and keys (arXiv 2302.05442)
  bool pre_norm = false;         // layer norm in front of the blocks (CLIP's)
  double norm_eps = 0;           // of every layer norm; 0: 1e-6
  std::string gelu = "";         // exact (timm's) | tanh (its approximation: flax's default) | quick (x σ(1.702 x))
  int64_t representation = 0;    // width of an extra tanh layer behind the pooling; 0: none
  double dropout = 0, drop_path = 0;
  // memory
  bool recompute = false;  // checkpoint every block
};

/// The same with what its name stands for written out, where it says nothing itself: equal ones make equal networks. Of
/// residual networks stem, shortcut, groups and width_per_group, of transformers heads, pool, class_token, norm,
/// positions, norm_eps and gelu. Throws UsageError for a name or a choice that is not known.
ModelConfig written_out(const ModelConfig& config);

/// A backbone for images of `image_shape` (H,W,C). Throws UsageError naming the key for an unknown name (with the
/// nearest known one), sizes that do not divide, or settings of the other family.
std::unique_ptr<Backbone> make_backbone(const ModelConfig& config, const Shape& image_shape, Init& init);

}  // namespace sked
