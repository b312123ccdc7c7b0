#pragma once
// What a configuration file says about backbones.

#include <optional>
#include <string>
#include <vector>

#include "core/names.h"
#include "layers/transformer.h"

namespace sked {

/// How images enter a residual network. imagenet: 7×7 stride 2, then 3×3 max pooling of stride 2 · cifar: 3×3 stride 1
/// · cifar2: 3×3 stride 2 · deep: three 3×3, the first of stride 2, the first two with half the channels (ResNet-C, He
/// et al., arXiv 1812.01187), then the max pooling.
enum class Stem { imagenet, cifar, cifar2, deep };
constexpr std::array<const char*, 4> names_of(Stem) { return {"imagenet", "cifar", "cifar2", "deep"}; }

/// Where a residual block changes shape. conv: 1×1 convolution with the block's stride, batch norm (option B of He et
/// al., arXiv 1512.03385) · pad: every stride-th pixel, and channels of zeros, half of them on each side (their option
/// A, no parameters) · avg: 2×2 mean of stride 2, over what there is of it at an odd edge, then 1×1 convolution and
/// batch norm (ResNet-D, arXiv 1812.01187).
enum class Shortcut { conv, pad, avg };
constexpr std::array<const char*, 3> names_of(Shortcut) { return {"conv", "pad", "avg"}; }

/// What becomes of a vision transformer's tokens. token: φ is the class token · gap: the mean of the patches · map:
/// attention over the patches with one learned query (AttentionPool; arXiv 2106.04560, SigLIP).
enum class Pool { token, gap, map };
constexpr std::array<const char*, 3> names_of(Pool) { return {"token", "gap", "map"}; }

enum class ClassToken { yes, no };
constexpr std::array<const char*, 2> names_of(ClassToken) { return {"yes", "no"}; }

/// What a vision transformer's last norm is of: the tokens (`norm`), or what is pooled (`fc_norm`).
enum class LastNorm { tokens, pooled };
constexpr std::array<const char*, 2> names_of(LastNorm) { return {"tokens", "pooled"}; }

/// Which of its tokens have position embeddings: all, or the patches alone (timm's no_embed_class).
enum class Positions { all, patches };
constexpr std::array<const char*, 2> names_of(Positions) { return {"all", "patches"}; }

/// Of a perceptron on vectors: max(x, 0) · x Φ(x).
enum class MlpActivation { relu, gelu, tanh };
constexpr std::array<const char*, 3> names_of(MlpActivation) { return {"relu", "gelu", "tanh"}; }

/// Whose rows batch norm's statistics are of in training, where several ranks compute a batch: all ranks' · each rank's
/// own, so that the result depends on how many there are.
enum class BatchNormRows { global, local };
constexpr std::array<const char*, 2> names_of(BatchNormRows) { return {"global", "local"}; }

/// What a configuration says about a backbone. Zero, empty or nothing means: as the named model has it.
/// Names: resnet20 | resnet32 | resnet44 | resnet56 (CIFAR, He et al., arXiv 1512.03385, section 4.2) ·
/// resnet18 | resnet34 | resnet50 | resnet101 | resnet152 (ImageNet, v1.5: stride on the 3×3) ·
/// resnext50-32x4d | resnext101-32x8d | resnext101-64x4d (groups: arXiv 1611.05431) · wide-resnet50-2 |
/// wide-resnet101-2 (twice the channels in the 3×3: arXiv 1605.07146) · wide-resnet28-10 and any other
/// wide-resnet<6n + 4>-<factor> (pre-activation, CIFAR: the same paper's own) · resnet50-d | resnet101-d (deep stem,
/// shortcut avg: arXiv 1812.01187) · bit-resnet50 | bit-resnet101 | bit-resnet152 and, with that many times the
/// channels, bit-resnet50x3 | bit-resnet101x3 | bit-resnet152x2 | bit-resnet152x4 (pre-activation, group norm, weight
/// standardization: arXiv 1912.11370) · vit-ti | vit-s | vit-b | vit-l | vit-h (arXiv 2010.11929; pre-norm) ·
/// resnet-cifar | vit (free sizes, below) · of examples that are vectors: none (φ is the vector) | mlp (a perceptron).
struct ModelConfig {
  std::string name = "resnet20";
  // residual networks
  std::vector<int64_t> blocks = {};  // blocks per stage
  int64_t base_width = 0;            // channels of the first stage
  std::optional<Stem> stem = {};
  std::optional<Shortcut> shortcut = {};
  /// Of a bottleneck's 3×3: groups, and channels of each in the first stage when base_width is 64 (ResNeXt, arXiv
  /// 1611.05431; wide networks).
  int64_t groups = 0, width_per_group = 0;
  BatchNormRows batch_norm = BatchNormRows::global;
  // vision transformers
  int64_t patch = 0;  // patch edge in pixels (16; ViT-H: 14)
  int64_t width = 0, depth = 0, heads = 0, mlp = 0;
  std::optional<Pool> pool = {};
  std::optional<ClassToken> class_token = {};  // by default with the pool token alone
  std::optional<LastNorm> norm = {};           // by default of what is pooled for gap, else of the tokens
  std::optional<Positions> positions = {};
  int64_t registers = 0;          // register tokens (arXiv 2309.16588)
  double layer_scale = 0;         // factor of each branch at the start (arXiv 2103.17239); 0: none
  bool qk_norm = false;           // layer norm of queries and keys (arXiv 2302.05442)
  bool pre_norm = false;          // layer norm in front of the blocks (CLIP's)
  double norm_eps = 0;            // of every layer norm; 0: 1e-6
  std::optional<Gelu> gelu = {};  // exact is timm's, tanh flax's default
  int64_t representation = 0;     // width of an extra tanh layer behind the pooling; 0: none
  double dropout = 0;             // of wide-resnet<depth>-<factor> and mlp too
  double drop_path = 0;
  // vectors
  bool standardize = false;          // coordinates to mean 0 and deviation 1 over the training examples
  bool l2_normalize = false;         // each vector to length 1, behind that
  std::vector<int64_t> widths = {};  // of mlp: outputs of each layer, the last the width of φ
  std::optional<MlpActivation> activation = {};
  bool layer_norm = false;  // of mlp: in front of each activation
  // memory
  bool recompute = false;  // checkpoint every block
};

}  // namespace sked
