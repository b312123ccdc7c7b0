#include "layers/models/model.h"

#include <map>

#include "core/text.h"
#include "layers/models/bit.h"
#include "layers/models/limits.h"
#include "layers/models/resnet.h"
#include "layers/models/vit.h"

namespace sked {

namespace {

using detail::check_heads, detail::check_probability, detail::check_size, detail::kMaxDepth, detail::kMaxWidth;

enum class Family { resnet, bit, vit };

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
  };
  return models;
}

const Named& named(const std::string& name) {
  const auto found = models().find(name);
  if (found != models().end()) return found->second;
  std::vector<std::string> names;
  for (const auto& [known, unused] : models()) names.push_back(known);
  require_usage(false, "model.name", "unknown backbone ", name, "; did you mean ", nearest(name, names),
                "? Known: ", join(names));
  return found->second;
}

/// A setting that is `given` but belongs to the other family is an error: it would silently do nothing.
void refuse(bool given, const char* key, const ModelConfig& config) {
  require_usage(!given, std::string("model.") + key, "is not a setting of ", config.name);
}

/// What `value` stands for among `choices`; where it is empty, `otherwise`.
template <class T>
T choice(const std::string& value, T otherwise, const std::vector<std::pair<std::string, T>>& choices,
         const std::string& key) {
  if (value.empty()) return otherwise;
  std::vector<std::string> names;
  for (const auto& [name, meaning] : choices) {
    if (name == value) return meaning;
    names.push_back(name);
  }
  require_usage(false, key, "expected ", join(names), ", got ", value);
  return otherwise;
}

ResNetConfig residual(ResNetConfig r, const ModelConfig& config) {
  refuse(config.patch != 0, "patch", config);
  refuse(config.width != 0, "width", config);
  refuse(config.depth != 0, "depth", config);
  refuse(config.heads != 0, "heads", config);
  refuse(config.mlp != 0, "mlp", config);
  refuse(!config.pool.empty(), "pool", config);
  refuse(!config.class_token.empty(), "class_token", config);
  refuse(!config.norm.empty(), "norm", config);
  refuse(!config.positions.empty(), "positions", config);
  refuse(config.registers != 0, "registers", config);
  refuse(config.layer_scale != 0, "layer_scale", config);
  refuse(config.qk_norm, "qk_norm", config);
  refuse(config.pre_norm, "pre_norm", config);
  refuse(config.norm_eps != 0, "norm_eps", config);
  refuse(!config.gelu.empty(), "gelu", config);
  refuse(config.representation != 0, "representation", config);
  refuse(config.dropout != 0, "dropout", config);
  refuse(config.drop_path != 0, "drop_path", config);
  if (!config.blocks.empty()) r.blocks = config.blocks;
  if (config.base_width != 0) r.base_width = config.base_width;
  r.stem =
      choice(config.stem, r.stem,
             {{"imagenet", Stem::imagenet}, {"deep", Stem::deep}, {"cifar", Stem::cifar}, {"cifar2", Stem::cifar2}},
             "model.stem");
  r.recompute = config.recompute;
  check_size(static_cast<int64_t>(r.blocks.size()), 6, "model.blocks (stages)");
  for (const int64_t blocks : r.blocks) check_size(blocks, kMaxDepth, "model.blocks");
  check_size(r.base_width, kMaxWidth >> r.blocks.size(), "model.base_width");
  return r;
}

ResNetConfig resnet(ResNetConfig r, const ModelConfig& config) {
  r = residual(r, config);
  r.shortcut = choice(config.shortcut, r.shortcut,
                      {{"conv", Shortcut::conv}, {"pad", Shortcut::pad}, {"avg", Shortcut::avg}}, "model.shortcut");
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
  refuse(!config.shortcut.empty(), "shortcut", config);
  refuse(config.groups != 0, "groups", config);
  refuse(config.width_per_group != 0, "width_per_group", config);
  require_usage(r.stem != Stem::deep, "model.stem", "expected imagenet, cifar, cifar2 of ", config.name, ", got deep");
  require_usage(r.base_width % 32 == 0, "model.base_width", "expected a multiple of 32 (group norm's groups), got ",
                r.base_width);
  return {.blocks = r.blocks, .base_width = r.base_width, .stem = r.stem, .recompute = r.recompute};
}

/// How the tokens become φ, and which tokens there are.
void set_tokens(VitConfig& v, const ModelConfig& config) {
  v.pool = choice(config.pool, v.pool, {{"token", Pool::token}, {"gap", Pool::gap}, {"map", Pool::map}}, "model.pool");
  v.class_token =
      choice(config.class_token, v.pool == Pool::token, {{"yes", true}, {"no", false}}, "model.class_token");
  require_usage(v.class_token || v.pool != Pool::token, "model.class_token",
                "expected yes with the pool token, which reads it, got no");
  v.norm_pooled = choice(config.norm, v.pool == Pool::gap, {{"tokens", false}, {"pooled", true}}, "model.norm");
  v.embed_prefix = choice(config.positions, true, {{"all", true}, {"patches", false}}, "model.positions");
  v.registers = config.registers;
  if (v.registers != 0) check_size(v.registers, kMaxWidth, "model.registers");
}

/// What differs inside the blocks and around them.
void set_norms(VitConfig& v, const ModelConfig& config) {
  v.gelu =
      choice(config.gelu, v.gelu, {{"exact", Gelu::exact}, {"tanh", Gelu::tanh}, {"quick", Gelu::quick}}, "model.gelu");
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
  refuse(!config.blocks.empty(), "blocks", config);
  refuse(config.base_width != 0, "base_width", config);
  refuse(!config.stem.empty(), "stem", config);
  refuse(!config.shortcut.empty(), "shortcut", config);
  refuse(config.groups != 0, "groups", config);
  refuse(config.width_per_group != 0, "width_per_group", config);
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

}  // namespace

ModelConfig written_out(const ModelConfig& config) {
  const Named& model = named(config.name);
  ModelConfig full = config;
  const auto otherwise = [](std::string& text, const char* value) {
    if (text.empty()) text = value;
  };
  if (model.family == Family::vit) {
    if (full.heads == 0) full.heads = model.vit.heads;
    if (full.norm_eps == 0) full.norm_eps = model.vit.norm_eps;
    otherwise(full.pool, "token");
    otherwise(full.class_token, full.pool == "token" ? "yes" : "no");
    otherwise(full.norm, full.pool == "gap" ? "pooled" : "tokens");
    otherwise(full.positions, "all");
    otherwise(full.gelu, "exact");
    return full;
  }
  constexpr const char *kStems[] = {"imagenet", "cifar", "cifar2", "deep"}, *kShortcuts[] = {"conv", "pad", "avg"};
  otherwise(full.stem, kStems[static_cast<size_t>(model.resnet.stem)]);
  if (model.family == Family::bit) return full;
  otherwise(full.shortcut, kShortcuts[static_cast<size_t>(model.resnet.shortcut)]);
  if (model.resnet.bottleneck) {
    if (full.groups == 0) full.groups = model.resnet.groups;
    if (full.width_per_group == 0) full.width_per_group = model.resnet.width_per_group;
  }
  return full;
}

std::unique_ptr<Backbone> make_backbone(const ModelConfig& config, const Shape& image_shape, Init& init) {
  require_usage(image_shape.ndim() == 3 && image_shape.numel() > 0, "model", "expected images (H,W,C), got ",
                image_shape);
  const Named& model = named(config.name);
  switch (model.family) {
    case Family::resnet:
      return std::make_unique<ResNet>(resnet(model.resnet, config), image_shape, init);
    case Family::bit:
      return std::make_unique<Bit>(bit(residual(model.resnet, config), config), image_shape, init);
    default:
      return std::make_unique<Vit>(transformer(model.vit, config, image_shape), image_shape, init);
  }
}

}  // namespace sked
