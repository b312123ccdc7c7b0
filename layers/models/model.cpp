#include "layers/models/model.h"

#include <charconv>
#include <map>
#include <optional>
#include <string_view>

#include "core/text.h"
#include "layers/models/bit.h"
#include "layers/models/features.h"
#include "layers/models/limits.h"
#include "layers/models/resnet.h"
#include "layers/models/vit.h"
#include "layers/models/wide_resnet.h"

namespace sked {

namespace {

using detail::check_heads, detail::check_probability, detail::check_size, detail::kMaxDepth, detail::kMaxWidth;

enum class Family { resnet, bit, wide, vit, none, mlp };

/// A name and what it stands for; only the member of its family counts.
struct Named {
  Family family;
  ResNetConfig resnet = {};
  VitConfig vit = {};
};

Named cifar(std::vector<int64_t> blocks) {
  return {Family::resnet, {.blocks = std::move(blocks), .base_width = 16, .stem = Stem::cifar}, {}};
}
Named imagenet(std::vector<int64_t> blocks, bool bottleneck) {
  return {Family::resnet, {.blocks = std::move(blocks), .base_width = 64, .bottleneck = bottleneck}, {}};
}
/// The same with other 3×3 in its bottlenecks: groups (ResNeXt, arXiv 1611.05431), or more channels (wide networks,
/// arXiv 1605.07146).
Named grouped(std::vector<int64_t> blocks, int64_t groups, int64_t width_per_group) {
  Named model = imagenet(std::move(blocks), true);
  model.resnet.groups = groups;
  model.resnet.width_per_group = width_per_group;
  return model;
}
/// ResNet-D (arXiv 1812.01187).
Named tweaked(std::vector<int64_t> blocks) {
  Named model = imagenet(std::move(blocks), true);
  model.resnet.stem = Stem::deep;
  model.resnet.shortcut = Shortcut::avg;
  return model;
}
/// `factor` times the channels of a ResNet.
Named bit(std::vector<int64_t> blocks, int64_t factor = 1) {
  return {Family::bit, {.blocks = std::move(blocks), .base_width = 64 * factor, .bottleneck = true}, {}};
}
/// Three stages of n blocks, `factor` times the channels of a ResNet for CIFAR (arXiv 1605.07146).
Named wide(int64_t n, int64_t factor) {
  return {Family::wide, {.blocks = {n, n, n}, .base_width = 16 * factor, .stem = Stem::cifar}, {}};
}
Named vit(int64_t patch, int64_t width, int64_t depth, int64_t heads) {
  return {Family::vit, {}, {.patch = patch, .width = width, .depth = depth, .heads = heads, .mlp = 4 * width}};
}

const std::map<std::string, Named>& models() {
  static const std::map<std::string, Named> models = {
      {"resnet20", cifar({3, 3, 3})},
      {"resnet32", cifar({5, 5, 5})},
      {"resnet44", cifar({7, 7, 7})},
      {"resnet56", cifar({9, 9, 9})},
      {"resnet-cifar", cifar({3, 3, 3})},
      {"resnet18", imagenet({2, 2, 2, 2}, false)},
      {"resnet34", imagenet({3, 4, 6, 3}, false)},
      {"resnet50", imagenet({3, 4, 6, 3}, true)},
      {"resnet101", imagenet({3, 4, 23, 3}, true)},
      {"resnet152", imagenet({3, 8, 36, 3}, true)},
      {"resnext50-32x4d", grouped({3, 4, 6, 3}, 32, 4)},
      {"resnext101-32x8d", grouped({3, 4, 23, 3}, 32, 8)},
      {"resnext101-64x4d", grouped({3, 4, 23, 3}, 64, 4)},
      {"wide-resnet50-2", grouped({3, 4, 6, 3}, 1, 128)},
      {"wide-resnet101-2", grouped({3, 4, 23, 3}, 1, 128)},
      {"wide-resnet28-10", wide(4, 10)},
      {"resnet50-d", tweaked({3, 4, 6, 3})},
      {"resnet101-d", tweaked({3, 4, 23, 3})},
      {"bit-resnet50", bit({3, 4, 6, 3})},
      {"bit-resnet101", bit({3, 4, 23, 3})},
      {"bit-resnet152", bit({3, 8, 36, 3})},
      {"bit-resnet50x3", bit({3, 4, 6, 3}, 3)},
      {"bit-resnet101x3", bit({3, 4, 23, 3}, 3)},
      {"bit-resnet152x2", bit({3, 8, 36, 3}, 2)},
      {"bit-resnet152x4", bit({3, 8, 36, 3}, 4)},
      {"vit-ti", vit(16, 192, 12, 3)},
      {"vit-s", vit(16, 384, 12, 6)},
      {"vit-b", vit(16, 768, 12, 12)},
      {"vit-l", vit(16, 1024, 24, 16)},
      {"vit-h", vit(14, 1280, 32, 16)},
      {"vit", vit(16, 192, 12, 3)},
      {"none", {Family::none}},
      {"mlp", {Family::mlp}},
  };
  return models;
}

constexpr const char* kFamilies =
    "; known: vit-ti, -s, -b, -l, -h; resnet18 to resnet152, resnet20 to resnet56 (CIFAR's), resnext50-32x4d ..., "
    "bit-resnet50 ..., wide-resnet<depth>-<factor>; of vectors none, mlp";

/// `wide-resnet<depth>-<factor>`, other than those of torchvision; nothing where `name` is none.
std::optional<Named> wide_by_name(std::string_view name) {
  constexpr std::string_view kPrefix = "wide-resnet";
  if (!name.starts_with(kPrefix)) return std::nullopt;
  int64_t depth = 0, factor = 0;
  const char *begin = name.data() + kPrefix.size(), *end = name.data() + name.size();
  const auto [dash, no_depth] = std::from_chars(begin, end, depth);
  if (no_depth != std::errc{} || dash == end || *dash != '-') return std::nullopt;
  const auto [rest, no_factor] = std::from_chars(dash + 1, end, factor);
  const std::string canonical = std::string(kPrefix) + std::to_string(depth) + '-' + std::to_string(factor);
  if (no_factor != std::errc{} || rest != end || name != canonical) return std::nullopt;
  require_usage(depth >= 10 && depth % 6 == 4, "model.name", "expected wide-resnet<depth>-<factor> with a depth of 6n",
                " + 4 (10, 16, 22, 28 ...), wide-resnet50-2 or wide-resnet101-2, got ", name);
  check_size((depth - 4) / 6, kMaxDepth, "model.name (blocks per stage)");
  check_size(factor, kMaxWidth >> 7, "model.name (factor on the channels)");
  return wide((depth - 4) / 6, factor);
}

Named named(const std::string& name) {
  const auto found = models().find(name);
  if (found != models().end()) return found->second;
  if (std::optional<Named> model = wide_by_name(name)) return *model;
  const std::string meant = did_you_mean(name, known_backbones());
  detail::throw_error<UsageError>("model.name", "unknown backbone ", excerpt(name), meant,
                                  meant.empty() ? kFamilies : "");
}

/// A setting that is `given` but belongs to the other family is an error: it would silently do nothing.
void refuse(bool given, const char* key, const ModelConfig& config) {
  require_usage(!given, std::string("model.") + key, "is not a setting of ", config.name);
}

void refuse_shapes_of_blocks(const ModelConfig& config) {
  refuse(config.shortcut.has_value(), "shortcut", config);
  refuse(config.groups != 0, "groups", config);
  refuse(config.width_per_group != 0, "width_per_group", config);
}

void refuse_vectors(const ModelConfig& config) {
  refuse(config.standardize, "standardize", config);
  refuse(config.l2_normalize, "l2_normalize", config);
  refuse(!config.widths.empty(), "widths", config);
  refuse(config.activation.has_value(), "activation", config);
  refuse(config.layer_norm, "layer_norm", config);
}

void refuse_residual(const ModelConfig& config) {
  refuse(!config.blocks.empty(), "blocks", config);
  refuse(config.base_width != 0, "base_width", config);
  refuse(config.stem.has_value(), "stem", config);
  refuse_shapes_of_blocks(config);
}

void refuse_transformer(const ModelConfig& config) {
  refuse(config.patch != 0, "patch", config);
  refuse(config.width != 0, "width", config);
  refuse(config.depth != 0, "depth", config);
  refuse(config.heads != 0, "heads", config);
  refuse(config.mlp != 0, "mlp", config);
  refuse(config.pool.has_value(), "pool", config);
  refuse(config.class_token.has_value(), "class_token", config);
  refuse(config.norm.has_value(), "norm", config);
  refuse(config.positions.has_value(), "positions", config);
  refuse(config.registers != 0, "registers", config);
  refuse(config.layer_scale != 0, "layer_scale", config);
  refuse(config.qk_norm, "qk_norm", config);
  refuse(config.pre_norm, "pre_norm", config);
  refuse(config.norm_eps != 0, "norm_eps", config);
  refuse(config.gelu.has_value(), "gelu", config);
  refuse(config.representation != 0, "representation", config);
  refuse(config.drop_path != 0, "drop_path", config);
}

ResNetConfig residual(ResNetConfig r, const ModelConfig& config) {
  refuse_transformer(config);
  refuse_vectors(config);
  if (!config.blocks.empty()) r.blocks = config.blocks;
  if (config.base_width != 0) r.base_width = config.base_width;
  r.stem = config.stem.value_or(r.stem);
  r.recompute = config.recompute;
  r.batch_norm = config.batch_norm;
  check_size(static_cast<int64_t>(r.blocks.size()), 6, "model.blocks (stages)");
  for (const int64_t blocks : r.blocks) check_size(blocks, kMaxDepth, "model.blocks");
  check_size(r.base_width, kMaxWidth >> r.blocks.size(), "model.base_width");
  return r;
}

ResNetConfig resnet(ResNetConfig r, const ModelConfig& config) {
  refuse(config.dropout != 0, "dropout", config);
  r = residual(r, config);
  r.shortcut = config.shortcut.value_or(r.shortcut);
  require_usage(r.base_width % 2 == 0 || (r.stem != Stem::deep && r.shortcut != Shortcut::pad), "model.base_width",
                "expected an even number with the stem deep and the shortcut pad, got ", r.base_width);
  refuse(config.groups != 0 && !r.bottleneck, "groups", config);
  refuse(config.width_per_group != 0 && !r.bottleneck, "width_per_group", config);
  if (config.groups != 0) check_size(r.groups = config.groups, kMaxWidth, "model.groups");
  if (config.width_per_group != 0)
    check_size(r.width_per_group = config.width_per_group, kMaxWidth, "model.width_per_group");
  check_size(bottleneck_width(r, r.base_width), kMaxWidth >> r.blocks.size(),
             "model.width_per_group (channels of the first 3×3)");
  return r;
}

BitConfig bit(const ResNetConfig& r, const ModelConfig& config) {
  refuse(config.dropout != 0, "dropout", config);
  refuse_shapes_of_blocks(config);
  require_usage(r.stem != Stem::deep, "model.stem", "expected imagenet, cifar, cifar2 of ", config.name, ", got deep");
  require_usage(r.base_width % 32 == 0, "model.base_width", "expected a multiple of 32 (group norm's groups), got ",
                r.base_width);
  return {.blocks = r.blocks, .base_width = r.base_width, .stem = r.stem, .recompute = r.recompute};
}

WideResNetConfig wide(const ResNetConfig& r, const ModelConfig& config) {
  refuse_shapes_of_blocks(config);
  require_usage(r.stem == Stem::cifar || r.stem == Stem::cifar2, "model.stem", "expected cifar or cifar2 of ",
                config.name, ", got ", name_of(r.stem));
  check_probability(config.dropout, "model.dropout");
  return {.blocks = r.blocks,
          .base_width = r.base_width,
          .stem = r.stem,
          .dropout = config.dropout,
          .recompute = r.recompute,
          .batch_norm = r.batch_norm};
}

ClassToken default_class_token(Pool pool) { return pool == Pool::token ? ClassToken::yes : ClassToken::no; }
LastNorm default_norm(Pool pool) { return pool == Pool::gap ? LastNorm::pooled : LastNorm::tokens; }

/// How the tokens become φ, and which tokens there are.
void set_tokens(VitConfig& v, const ModelConfig& config) {
  v.pool = config.pool.value_or(v.pool);
  v.class_token = config.class_token.value_or(default_class_token(v.pool)) == ClassToken::yes;
  require_usage(v.class_token || v.pool != Pool::token, "model.class_token",
                "expected yes with the pool token, which reads it, got no");
  v.norm_pooled = config.norm.value_or(default_norm(v.pool)) == LastNorm::pooled;
  v.embed_prefix = config.positions.value_or(Positions::all) == Positions::all;
  v.registers = config.registers;
  if (v.registers != 0) check_size(v.registers, kMaxWidth, "model.registers");
}

/// What differs inside the blocks and around them.
void set_norms(VitConfig& v, const ModelConfig& config) {
  v.gelu = config.gelu.value_or(v.gelu);
  v.qk_norm = config.qk_norm;
  v.pre_norm = config.pre_norm;
  v.layer_scale = config.layer_scale;
  require_usage(v.layer_scale >= 0 && v.layer_scale <= 1e3, "model.layer_scale", "expected 0 to 1000, got ",
                v.layer_scale);
  if (config.norm_eps != 0) v.norm_eps = config.norm_eps;
  require_usage(v.norm_eps > 0 && v.norm_eps < 1, "model.norm_eps", "expected a number between 0 and 1, got ",
                v.norm_eps);
}

VitConfig transformer(VitConfig v, const ModelConfig& config, const Shape& image_shape) {
  refuse_residual(config);
  refuse_vectors(config);
  if (config.patch != 0) v.patch = config.patch;
  if (config.width != 0) v.mlp = 4 * (v.width = config.width);
  if (config.depth != 0) v.depth = config.depth;
  if (config.heads != 0) v.heads = config.heads;
  if (config.mlp != 0) v.mlp = config.mlp;
  set_tokens(v, config);
  set_norms(v, config);
  v.representation = config.representation;
  v.dropout = config.dropout;
  v.drop_path = config.drop_path;
  v.recompute = config.recompute;
  check_size(v.patch, 4096, "model.patch");
  check_size(v.width, kMaxWidth, "model.width");
  check_size(v.depth, kMaxDepth, "model.depth");
  check_size(v.heads, kMaxWidth, "model.heads");
  check_size(v.mlp, 4 * kMaxWidth, "model.mlp");
  if (v.representation != 0) check_size(v.representation, kMaxWidth, "model.representation");
  check_probability(v.dropout, "model.dropout");
  check_probability(v.drop_path, "model.drop_path");
  check_heads(v.width, v.heads, "model.heads");
  require_usage(image_shape[0] % v.patch == 0 && image_shape[1] % v.patch == 0, "model.patch",
                "expected a divisor of the image's ", image_shape[0], " by ", image_shape[1], " pixels, got ", v.patch);
  return v;
}

FeaturesConfig features(Family family, const ModelConfig& config) {
  refuse_residual(config);
  refuse_transformer(config);
  refuse(config.recompute, "recompute", config);
  if (family == Family::none) {
    refuse(!config.widths.empty(), "widths", config);
    refuse(config.activation.has_value(), "activation", config);
    refuse(config.layer_norm, "layer_norm", config);
    refuse(config.dropout != 0, "dropout", config);
  } else {
    require_usage(!config.widths.empty(), "model.widths",
                  "expected the width of each layer of mlp, [512] say, got none");
    check_size(static_cast<int64_t>(config.widths.size()), kMaxDepth, "model.widths (layers of mlp)");
    for (const int64_t width : config.widths) check_size(width, kMaxWidth, "model.widths");
    check_probability(config.dropout, "model.dropout");
  }
  return {.standardize = config.standardize,
          .l2_normalize = config.l2_normalize,
          .widths = config.widths,
          .activation = config.activation.value_or(MlpActivation::relu),
          .layer_norm = config.layer_norm,
          .dropout = config.dropout};
}

}  // namespace

std::vector<std::string> known_backbones() {
  std::vector<std::string> names;
  for (const auto& [name, unused] : models()) names.push_back(name);
  return names;
}

ModelConfig written_out(const ModelConfig& config) {
  const Named model = named(config.name);
  ModelConfig full = config;
  const auto otherwise = [](auto& setting, auto value) {
    if (!setting) setting = value;
  };
  if (model.family == Family::vit) {
    otherwise(full.heads, model.vit.heads);
    otherwise(full.norm_eps, model.vit.norm_eps);
    otherwise(full.pool, model.vit.pool);
    otherwise(full.class_token, default_class_token(*full.pool));
    otherwise(full.norm, default_norm(*full.pool));
    otherwise(full.positions, Positions::all);
    otherwise(full.gelu, model.vit.gelu);
    return full;
  }
  if (model.family == Family::mlp) otherwise(full.activation, MlpActivation::relu);
  if (model.family == Family::mlp || model.family == Family::none) return full;
  otherwise(full.stem, model.resnet.stem);
  if (model.family == Family::bit || model.family == Family::wide) return full;
  otherwise(full.shortcut, model.resnet.shortcut);
  if (model.resnet.bottleneck) {
    otherwise(full.groups, model.resnet.groups);
    otherwise(full.width_per_group, model.resnet.width_per_group);
  }
  return full;
}

std::unique_ptr<Backbone> make_backbone(const ModelConfig& config, const Shape& image_shape, Init& init) {
  const Named model = named(config.name);
  const bool of_vectors = model.family == Family::none || model.family == Family::mlp;
  require_usage(image_shape.ndim() == (of_vectors ? 1 : 3) && image_shape.numel() > 0, "model.name", config.name,
                of_vectors ? ": expected vectors (D), as the data set embeddings has them, got "
                           : ": expected images (H,W,C), got ",
                image_shape, image_shape.ndim() == 1 ? " (vectors: none or mlp)" : "");
  switch (model.family) {
    case Family::resnet:
      return std::make_unique<ResNet>(resnet(model.resnet, config), image_shape, init);
    case Family::bit:
      return std::make_unique<Bit>(bit(residual(model.resnet, config), config), image_shape, init);
    case Family::wide:
      return std::make_unique<WideResNet>(wide(residual(model.resnet, config), config), image_shape, init);
    case Family::none:
    case Family::mlp:
      return std::make_unique<Features>(features(model.family, config), image_shape[0], init);
    default:
      return std::make_unique<Vit>(transformer(model.vit, config, image_shape), image_shape, init);
  }
}

}  // namespace sked
