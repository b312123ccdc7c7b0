#include "layers/models/vit.h"

#include <algorithm>

#include "autograd/elementwise.h"
#include "autograd/reduce.h"
#include "autograd/shape.h"
#include "layers/activations.h"

namespace sked {

Vit::PreLogits::PreLogits(Init& init, int64_t in, int64_t out) : fc(vit_linear(init, in, out)) { add("fc", fc); }

Vit::Vit(const VitConfig& config, const Shape& image_shape, Init& init)
    : config_(config),
      patch_embed_(init, image_shape[2], config.patch, config.width, !config.pre_norm),
      pos_drop_(init, config.dropout) {
  const int64_t patches = (image_shape[0] / config.patch) * (image_shape[1] / config.patch);
  const BlockConfig block{.width = config.width,
                          .heads = config.heads,
                          .mlp = config.mlp,
                          .dropout = config.dropout,
                          .gelu = config.gelu,
                          .norm_eps = config.norm_eps,
                          .qk_norm = config.qk_norm,
                          .layer_scale = config.layer_scale};
  flops_ = 2.0 * static_cast<double>(patches * config.patch * config.patch * image_shape[2] * config.width);
  add_embedding(init, patches);
  add_blocks(init, block, patches + prefix());
  norm_ = std::make_unique<LayerNorm>(init, config.width, config.norm_eps);
  if (!config.norm_pooled) add("norm", *norm_);
  if (config.pool == Pool::map) {
    attn_pool_ = std::make_unique<AttentionPool>(init, block);
    add("attn_pool", *attn_pool_);
    flops_ += attention_pool_flops(block, patches);
  }
  if (config.norm_pooled) add("fc_norm", *norm_);
  if (config.representation) {
    pre_logits_ = std::make_unique<PreLogits>(init, config.width, config.representation);
    add("pre_logits", *pre_logits_);
    flops_ += 2.0 * static_cast<double>(config.width * config.representation);
  }
}

void Vit::add_embedding(Init& init, int64_t patches) {
  const int64_t width = config_.width;
  if (config_.class_token) {
    cls_token_ = parameter(init.normal({1, 1, width}, 1e-6));
    add("cls_token", cls_token_);
  }
  if (config_.registers) {
    reg_token_ = parameter(init.normal({1, config_.registers, width}, 1e-6));
    add("reg_token", reg_token_);
  }
  pos_embed_ = parameter(init.truncated_normal({1, patches + (config_.embed_prefix ? prefix() : 0), width}, 0.02));
  add("pos_embed", pos_embed_);
  add("patch_embed", patch_embed_);
  if (config_.pre_norm) {
    norm_pre_ = std::make_unique<LayerNorm>(init, width, config_.norm_eps);
    add("norm_pre", *norm_pre_);
  }
}

void Vit::add_blocks(Init& init, const BlockConfig& config, int64_t tokens) {
  BlockConfig block = config;
  for (int64_t i = 0; i < config_.depth; ++i) {
    block.drop_path =
        config_.depth > 1 ? config_.drop_path * static_cast<double>(i) / static_cast<double>(config_.depth - 1) : 0;
    blocks_.push_back(std::make_unique<TransformerBlock>(init, block));
    add("blocks." + std::to_string(i), *blocks_.back());
    flops_ += block_flops(block, tokens);
  }
}

/// images -> tokens (N,T,D): [class token,] [registers,] patches, plus positions.
Var Vit::embed(const Var& images, const Context& context) const {
  Var x = patch_embed_.forward(as_activation(images, context));
  const int64_t expected = pos_embed_.dim(1) - (config_.embed_prefix ? prefix() : 0);
  require(x.dim(1) == expected, "vit", "expected images of ", expected, " patches, got ", x.dim(1), " from ",
          images.value());
  const Var positions = cast(pos_embed_, x.dtype());
  if (!config_.embed_prefix) x = x + positions;
  std::vector<Var> tokens;
  for (const Var& token : {cls_token_, reg_token_})
    if (token.defined()) tokens.push_back(broadcast_to(cast(token, x.dtype()), token.shape().with(0, x.dim(0))));
  tokens.push_back(x);
  if (tokens.size() > 1) x = concat(tokens, 1);
  if (config_.embed_prefix) x = x + positions;
  x = pos_drop_.forward(x, context);
  return norm_pre_ ? norm_pre_->forward(x) : x;
}

/// x (N,T,D) -> (N,D).
Var Vit::pool(const Var& x, const Context& context) const {
  // A norm works on each token alone, so the class token is taken before it, whichever its name.
  if (config_.pool == Pool::token) return norm_->forward(reshape(slice(x, 1, 0, 1), {x.dim(0), config_.width}));
  const Var patches = prefix() > 0 ? slice(x, 1, prefix(), x.dim(1)) : x;
  const Var y = config_.norm_pooled ? patches : norm_->forward(patches);
  const Var phi = attn_pool_ ? attn_pool_->forward(y, context) : mean(y, 1);
  return config_.norm_pooled ? norm_->forward(phi) : phi;
}

Var Vit::tokens(const Var& images, size_t blocks, const Context& context) const {
  return run_blocks(blocks_, blocks, embed(images, context), context, config_.recompute);
}

Var Vit::forward(const Var& images, const Context& context) {
  const Var phi = pool(tokens(images, blocks_.size(), context), context);
  return as_feature(pre_logits_ ? tanh(pre_logits_->fc.forward(phi)) : phi);
}

std::vector<std::string> Vit::layers() const {
  std::vector<std::string> names;
  for (size_t i = 0; i < blocks_.size(); ++i) names.push_back("blocks." + std::to_string(i));
  if (pre_logits_) names.emplace_back("pooled");
  return names;
}

std::vector<std::vector<std::string>> Vit::parameter_layers() const {
  std::vector<std::vector<std::string>> layers{{"cls_token", "reg_token", "pos_embed", "patch_embed", "norm_pre"}};
  for (size_t i = 0; i < blocks_.size(); ++i) layers.push_back({"blocks." + std::to_string(i)});
  layers.back().emplace_back("norm");
  return layers;
}

/// x (N,T,D) -> (N,D).
Var Vit::token_or_mean(const Var& x) const {
  if (config_.class_token) return reshape(slice(x, 1, 0, 1), {x.dim(0), config_.width});
  return mean(prefix() > 0 ? slice(x, 1, prefix(), x.dim(1)) : x, 1);
}

Var Vit::forward_to(size_t i, const Var& images, const Context& context) {
  const Var x = tokens(images, std::min(i + 1, blocks_.size()), context);
  return as_feature(i < blocks_.size() ? token_or_mean(x) : pool(x, context));
}

}  // namespace sked
