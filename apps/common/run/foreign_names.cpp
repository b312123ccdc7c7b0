#include "apps/common/run/foreign_names.h"

#include <algorithm>
#include <array>
#include <span>
#include <string_view>

#include "apps/common/run/flax_names.h"
#include "apps/common/run/name_rules.h"
#include "core/error.h"
#include "core/text.h"

namespace sked {
namespace {

constexpr std::array kTransformersVit{
    Rule{"embeddings.cls_token", "cls_token"},
    Rule{"embeddings.mask_token", "mask_token"},
    Rule{"embeddings.distillation_token", "dist_token"},
    Rule{"embeddings.position_embeddings", "pos_embed"},
    Rule{"embeddings.patch_embeddings.projection.", "patch_embed.proj."},
    Rule{"encoder.layer.#.attention.attention.query.", "blocks.#.attn.q."},
    Rule{"encoder.layer.#.attention.attention.key.", "blocks.#.attn.k."},
    Rule{"encoder.layer.#.attention.attention.value.", "blocks.#.attn.v."},
    Rule{"encoder.layer.#.attention.output.dense.", "blocks.#.attn.proj."},
    Rule{"encoder.layer.#.layernorm_before.", "blocks.#.norm1."},
    Rule{"encoder.layer.#.layernorm_after.", "blocks.#.norm2."},
    Rule{"encoder.layer.#.intermediate.dense.", "blocks.#.mlp.fc1."},
    Rule{"encoder.layer.#.output.dense.", "blocks.#.mlp.fc2."},
    Rule{"layers.#.attention.q_proj.", "blocks.#.attn.q."},  // from here on as version 5 has them in memory
    Rule{"layers.#.attention.k_proj.", "blocks.#.attn.k."},
    Rule{"layers.#.attention.v_proj.", "blocks.#.attn.v."},
    Rule{"layers.#.attention.o_proj.", "blocks.#.attn.proj."},
    Rule{"layers.#.layernorm_before.", "blocks.#.norm1."},
    Rule{"layers.#.layernorm_after.", "blocks.#.norm2."},
    Rule{"layers.#.mlp.", "blocks.#.mlp."},
    Rule{"layernorm.", "norm."},
    Rule{"pooler.dense.", "pre_logits.fc."},
    Rule{"classifier.", "head."},
};

constexpr std::array kTransformersResNet{
    Rule{"embedder.embedder.convolution.", "conv1."},
    Rule{"embedder.embedder.normalization.", "bn1."},
    Rule{"encoder.stages.#.layers.#.layer.#.convolution.", "layer+.#.conv+."},
    Rule{"encoder.stages.#.layers.#.layer.#.normalization.", "layer+.#.bn+."},
    Rule{"encoder.stages.#.layers.#.shortcut.convolution.", "layer+.#.downsample.0."},
    Rule{"encoder.stages.#.layers.#.shortcut.normalization.", "layer+.#.downsample.1."},
    Rule{"classifier.1.", "head."},
};

constexpr std::array kTorchvisionVit{
    Rule{"class_token", "cls_token"},
    Rule{"conv_proj.", "patch_embed.proj."},
    Rule{"encoder.pos_embedding", "pos_embed"},
    Rule{"encoder.layers.encoder_layer_#.ln_1.", "blocks.#.norm1."},
    Rule{"encoder.layers.encoder_layer_#.ln_2.", "blocks.#.norm2."},
    Rule{"encoder.layers.encoder_layer_#.self_attention.in_proj_", "blocks.#.attn.qkv."},
    Rule{"encoder.layers.encoder_layer_#.self_attention.out_proj.", "blocks.#.attn.proj."},
    Rule{"encoder.layers.encoder_layer_#.mlp.0.", "blocks.#.mlp.fc1."},
    Rule{"encoder.layers.encoder_layer_#.mlp.3.", "blocks.#.mlp.fc2."},
    Rule{"encoder.layers.encoder_layer_#.mlp.linear_1.", "blocks.#.mlp.fc1."},  // as its first versions wrote them
    Rule{"encoder.layers.encoder_layer_#.mlp.linear_2.", "blocks.#.mlp.fc2."},
    Rule{"encoder.ln.", "norm."},
    Rule{"heads.pre_logits.", "pre_logits.fc."},
    Rule{"heads.head.", "head."},
};

/// Of networks whose names are ours but for the classifier and, in some, the shortcuts.
constexpr std::array kPlain{
    Rule{"head.fc.", "head."},
    Rule{"fc.", "head."},
    Rule{"classifier.", "head."},
    Rule{"linear.", "head."},
    Rule{"layer#.#.shortcut.", "layer#.#.downsample."},
};

struct Family {
  std::string_view mark;  // a tensor that every such file has
  std::vector<std::string_view> prefixes;
  std::span<const Rule> rules;
};

const std::array<Family, 3>& families() {
  static const std::array<Family, 3> all{
      Family{"embeddings.patch_embeddings.projection.weight", {"", "vit.", "deit."}, kTransformersVit},
      Family{"embedder.embedder.convolution.weight", {"", "resnet."}, kTransformersResNet},
      Family{"conv_proj.weight", {""}, kTorchvisionVit}};
  return all;
}

/// Of this program's checkpoints, beside the weights.
bool is_state(std::string_view name) { return name.starts_with("optimizer.") || name.starts_with("raw."); }

/// Takes what wrappers put in front of all weights off their names, one after another.
void unwrap(std::vector<ForeignTensor>& all, std::vector<std::string>& names) {
  for (bool found = true; found;) {
    found = false;
    for (const std::string_view prefix : {"module.", "_orig_mod.", "model."}) {
      bool every = false;
      for (size_t i = 0; i < all.size(); ++i) {
        if (!all[i].is_weight() || is_state(names[i])) continue;
        every = names[i].starts_with(prefix);
        if (!every) break;
      }
      if (!every) continue;
      found = true;
      for (std::string& name : names) {
        if (name.starts_with(prefix)) name.erase(0, prefix.size());
      }
    }
  }
}

/// Tensors in whose names the first of `parts` occurs, and those with the others in its place, where all are there and
/// alike, as the rows of one tensor with `whole` there.
void join(ForeignWeights& weights, const std::string& path, std::span<const std::string_view> parts,
          std::string_view whole) {
  std::vector<std::string> firsts;
  for (const auto& [name, tensor] : weights.tensors) {
    if (name.find(parts[0]) != std::string::npos) firsts.push_back(name);
  }
  for (const std::string& name : firsts) {
    const size_t at = name.find(parts[0]);
    const auto with = [&](std::string_view part) {
      return name.substr(0, at).append(part).append(name.substr(at + parts[0].size()));
    };
    const Tensor first = weights.find(name)->tensor;
    const bool alike = first.defined() && first.ndim() > 0 && std::ranges::all_of(parts, [&](std::string_view part) {
                         const ForeignTensor* tensor = weights.find(with(part));
                         return tensor != nullptr && tensor->tensor.defined() &&
                                tensor->tensor.shape() == first.shape() && tensor->tensor.dtype() == first.dtype();
                       });
    if (!alike) continue;
    const int64_t rows = first.dim(0), count = std::ssize(parts);
    ForeignTensor joined{weights.find(name)->given, Tensor::empty(first.shape().with(0, count * rows), first.dtype()),
                         "", weights.find(name)->shape};
    joined.shape[0] = count * rows;
    for (int64_t i = 0; i < count; ++i) {
      const std::string part = with(parts[static_cast<size_t>(i)]);
      joined.tensor.rows(i * rows, (i + 1) * rows).copy_from(weights.find(part)->tensor);
      weights.tensors.erase(part);
    }
    require(weights.tensors.emplace(with(whole), joined).second, "init", path, ": ", excerpt(joined.given), " and ",
            excerpt(with(whole)), " are both ", excerpt(with(whole)), " of the model");
  }
}

}  // namespace

ForeignWeights own_names(const TensorFile& file, const std::string& path) {
  std::vector<ForeignTensor> all;
  for (const auto& [name, tensor] : file.tensors)
    all.push_back({name, tensor, "", std::vector(tensor.shape().begin(), tensor.shape().end())});
  for (const SkippedTensor& s : file.skipped) all.push_back({s.name, {}, s.dtype, s.shape});
  std::vector<std::string> names;
  for (const ForeignTensor& tensor : all) names.push_back(tensor.given);
  ForeignWeights weights;
  weights.flax_heads = from_flax(all, names, path);
  unwrap(all, names);

  std::span<const Rule> rules = kPlain;
  std::string_view prefix;
  for (const Family& family : families())
    for (const std::string_view own : family.prefixes)
      if (std::ranges::find(names, std::string(own).append(family.mark)) != names.end()) {
        rules = family.rules;
        prefix = own;
        weights.transformers_vit = &family == &families()[0];
      }
  for (size_t i = 0; i < all.size(); ++i) {
    const std::string bare = names[i].starts_with(prefix) ? names[i].substr(prefix.size()) : names[i];
    const std::string name = renamed(bare, rules);
    const auto [other, is_new] = weights.tensors.emplace(name, all[i]);
    require(is_new, "init", path, ": ", excerpt(other->second.given), " and ", excerpt(all[i].given), " are both ",
            excerpt(name), " of the model");
  }
  if (weights.transformers_vit || weights.flax_heads > 0) {
    constexpr std::array<std::string_view, 3> kQkv{".attn.q.", ".attn.k.", ".attn.v."};
    constexpr std::array<std::string_view, 2> kKv{"attn_pool.k.", "attn_pool.v."};
    join(weights, path, kQkv, ".attn.qkv.");
    join(weights, path, kKv, "attn_pool.kv.");
  }
  return weights;
}

}  // namespace sked
