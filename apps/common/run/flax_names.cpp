#include "apps/common/run/flax_names.h"

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>
#include <utility>

#include "apps/common/run/name_rules.h"
#include "autograd/shape.h"
#include "core/error.h"
#include "core/text.h"

namespace sked {
namespace {

constexpr std::array kRules{
    Rule{"embedding/", "patch_embed.proj/"},
    Rule{"cls", "cls_token"},
    Rule{"pos_embedding", "pos_embed"},
    Rule{"Transformer/pos_embedding", "pos_embed"},
    Rule{"Transformer/posembed_input/pos_embedding", "pos_embed"},
    Rule{"Transformer/encoderblock_#/LayerNorm_0/", "blocks.#.norm1/"},
    Rule{"Transformer/encoderblock_#/LayerNorm_1/", "blocks.#.norm2/"},
    Rule{"Transformer/encoderblock_#/LayerNorm_2/", "blocks.#.norm2/"},
    Rule{"Transformer/encoderblock_#/MultiHeadDotProductAttention_0/query/", "blocks.#.attn.q/"},
    Rule{"Transformer/encoderblock_#/MultiHeadDotProductAttention_0/key/", "blocks.#.attn.k/"},
    Rule{"Transformer/encoderblock_#/MultiHeadDotProductAttention_0/value/", "blocks.#.attn.v/"},
    Rule{"Transformer/encoderblock_#/MultiHeadDotProductAttention_0/out/", "blocks.#.attn.proj/"},
    Rule{"Transformer/encoderblock_#/MultiHeadDotProductAttention_1/query/", "blocks.#.attn.q/"},
    Rule{"Transformer/encoderblock_#/MultiHeadDotProductAttention_1/key/", "blocks.#.attn.k/"},
    Rule{"Transformer/encoderblock_#/MultiHeadDotProductAttention_1/value/", "blocks.#.attn.v/"},
    Rule{"Transformer/encoderblock_#/MultiHeadDotProductAttention_1/out/", "blocks.#.attn.proj/"},
    Rule{"Transformer/encoderblock_#/MlpBlock_0/Dense_0/", "blocks.#.mlp.fc1/"},
    Rule{"Transformer/encoderblock_#/MlpBlock_0/Dense_1/", "blocks.#.mlp.fc2/"},
    Rule{"Transformer/encoderblock_#/MlpBlock_3/Dense_0/", "blocks.#.mlp.fc1/"},
    Rule{"Transformer/encoderblock_#/MlpBlock_3/Dense_1/", "blocks.#.mlp.fc2/"},
    Rule{"Transformer/encoder_norm/", "norm/"},
    Rule{"MAPHead_0/probe", "attn_pool.latent"},
    Rule{"MAPHead_0/MultiHeadDotProductAttention_0/query/", "attn_pool.q/"},
    Rule{"MAPHead_0/MultiHeadDotProductAttention_0/key/", "attn_pool.k/"},
    Rule{"MAPHead_0/MultiHeadDotProductAttention_0/value/", "attn_pool.v/"},
    Rule{"MAPHead_0/MultiHeadDotProductAttention_0/out/", "attn_pool.proj/"},
    Rule{"MAPHead_0/LayerNorm_0/", "attn_pool.norm/"},
    Rule{"MAPHead_0/MlpBlock_0/Dense_0/", "attn_pool.mlp.fc1/"},
    Rule{"MAPHead_0/MlpBlock_0/Dense_1/", "attn_pool.mlp.fc2/"},
    Rule{"pre_logits/", "pre_logits.fc/"},
    Rule{"head/", "head/"},
};

/// Of edward2's layers, behind `multiclass_head/` (softmax) or `multilabel_head/` (sigmoid).
constexpr std::array kHeadRules{
    Rule{"loc_layer/", "head/"},
    Rule{"diag_layer/", "head.noise.diagonal/"},
    Rule{"scale_layer/", "head.noise.factors/"},
    Rule{"scale_layer_heteroscedastic/", "head.noise.factors/"},
    Rule{"scale_layer_homoscedastic/kernel", "head.noise.v"},
    Rule{"scale_layer_homoscedastic/bias", "head.noise.v_bias"},
    Rule{"pre_sigmoid_temperature", "head.temperature.t"},
};

constexpr int64_t kMostBlocks = 4096;  // of a stack, each of which becomes a name

bool has(const std::vector<std::string>& names, const std::string& name) {
  return std::ranges::find(names, name) != names.end();
}

/// What stands in front of the network's names; nothing where there is no network.
std::optional<std::string> prefix_of(const std::vector<std::string>& names) {
  for (const std::string whole : {"", "params/", "opt/target/", "target/"})
    for (const std::string tower : {"", "img/"}) {
      const std::string prefix = whole + tower;
      if (has(names, prefix + "embedding/kernel") && has(names, prefix + "Transformer/encoder_norm/scale"))
        return prefix;
    }
  return std::nullopt;
}

/// `tensor` as (rows, the rest), transposed.
Tensor transposed(const Tensor& tensor, int64_t rows) {
  return permute(reshape(Var(tensor), {rows, tensor.numel() / rows}), {1, 0}).value();
}

/// A tensor called `name` in the file, in our layout.
Tensor in_our_layout(const Tensor& given, std::string_view name) {
  if (!given.defined() || !is_floating(given.dtype()) || given.numel() == 0) return given;
  const Tensor tensor = given.dtype() == DType::f32 ? given : given.to(DType::f32);
  const int axes = tensor.ndim();
  if (name.ends_with("/kernel") && axes == 4) return permute(Var(tensor), {3, 2, 0, 1}).value();
  if (name.ends_with("/out/kernel") && axes == 3) return transposed(tensor, tensor.dim(0) * tensor.dim(1));
  if (name.ends_with("/kernel") && axes > 1) return transposed(tensor, tensor.dim(0));
  if (name.ends_with("/bias")) return tensor.reshape({tensor.numel()});
  if (name.ends_with("pre_sigmoid_temperature") && tensor.numel() == 1) return tensor.reshape({});
  return tensor;
}

std::string own_name(std::string name) {
  for (const std::string_view head : {"multiclass_head/", "multilabel_head/"})
    if (name.starts_with(head)) {
      const std::string inside = name.substr(head.size()), own = renamed(inside, kHeadRules);
      if (own != inside) name = own;
    }
  name = renamed(name, kRules);
  for (const auto& [leaf, own] :
       {std::pair<std::string_view, std::string_view>{"/kernel", ".weight"}, {"/scale", ".weight"}, {"/bias", ".bias"}})
    if (name.ends_with(leaf) && name.find('/') == name.size() - leaf.size())
      name.replace(name.size() - leaf.size(), leaf.size(), own);
  return name;
}

/// Blocks that stand on each other become one tensor each.
void unstack(std::vector<ForeignTensor>& all, std::vector<std::string>& names) {
  constexpr std::string_view kStack = "Transformer/encoderblock/";
  for (size_t i = 0; i < names.size(); ++i) {
    const Tensor stack = all[i].tensor;
    if (!names[i].starts_with(kStack) || !stack.defined() || stack.ndim() == 0) continue;
    const int64_t depth = stack.dim(0);
    if (depth == 0 || depth > kMostBlocks) continue;
    const Shape shape(std::vector<int64_t>(stack.shape().begin() + 1, stack.shape().end()));
    const std::string given = all[i].given, rest = names[i].substr(kStack.size());
    for (int64_t block = 0; block < depth; ++block) {
      all.push_back({given, stack.rows(block, block + 1).reshape(shape), "", {shape.begin(), shape.end()}});
      names.push_back("Transformer/encoderblock_" + std::to_string(block) + "/" + rest);
    }
    names[i].clear();
  }
}

/// Leaves what stands behind `prefix`, without it, and no stacks.
void keep_network(std::vector<ForeignTensor>& all, std::vector<std::string>& names, const std::string& prefix) {
  size_t kept = 0;
  for (size_t i = 0; i < names.size(); ++i) {
    if (names[i].empty() || !names[i].starts_with(prefix)) continue;
    all[kept] = all[i];
    names[kept++] = names[i].substr(prefix.size());
  }
  all.resize(kept);
  names.resize(kept);
}

}  // namespace

int64_t from_flax(std::vector<ForeignTensor>& all, std::vector<std::string>& names, const std::string& path) {
  const std::optional<std::string> prefix = prefix_of(names);
  if (!prefix) return 0;
  keep_network(all, names, *prefix);
  unstack(all, names);
  keep_network(all, names, "");
  const NoGrad no_tape;
  int64_t heads = 0;
  for (size_t i = 0; i < names.size(); ++i) {
    ForeignTensor& tensor = all[i];
    const std::string flax = names[i];
    names[i] = own_name(flax);
    if (names[i] == "patch_embed.proj.weight")
      require(tensor.shape.size() == 4 && tensor.shape[0] > 0, "init", path, ": ", excerpt(tensor.given),
              ": expected (p,p,C,D), got another shape");
    if (names[i] == "blocks.0.attn.q.weight") {
      require(tensor.shape.size() == 3 && tensor.shape[1] > 0, "init", path, ": ", excerpt(tensor.given),
              ": expected (D,heads,D/heads), got another shape");
      heads = tensor.shape[1];
    }
    tensor.tensor = in_our_layout(tensor.tensor, flax);
    if (tensor.tensor.defined()) tensor.shape.assign(tensor.tensor.shape().begin(), tensor.tensor.shape().end());
  }
  require(heads > 0, "init", path, ": it has ", excerpt(*prefix + "embedding/kernel"),
          " and no query of a first block");
  return heads;
}

}  // namespace sked
