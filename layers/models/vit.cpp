#include "layers/models/vit.h"

#include "autograd/elementwise.h"
#include "autograd/reduce.h"
#include "autograd/shape.h"
#include "layers/activations.h"
#include "layers/recompute.h"

namespace sked {

Vit::PreLogits::PreLogits(Init& init, int64_t in, int64_t out) : fc(vit_linear(init, in, out)) { add("fc", fc); }

Vit::Vit(const VitConfig& config, const Shape& image_shape, Init& init)
    : config_(config), patch_embed_(init, image_shape[2], config.patch, config.width), pos_drop_(init, config.dropout) {
  const int64_t patches = (image_shape[0] / config.patch) * (image_shape[1] / config.patch);
  const int64_t tokens = patches + (config.gap ? 0 : 1);
  if (!config.gap) {
    cls_token_ = parameter(init.normal({1, 1, config.width}, 1e-6));
    add("cls_token", cls_token_);
  }
  pos_embed_ = parameter(init.truncated_normal({1, tokens, config.width}, 0.02));
  add("pos_embed", pos_embed_);
  add("patch_embed", patch_embed_);
  flops_ = 2.0 * static_cast<double>(patches * config.patch * config.patch * image_shape[2] * config.width);
  BlockConfig block{
      .width = config.width, .heads = config.heads, .mlp = config.mlp, .dropout = config.dropout, .act = config.gelu};
  for (int64_t i = 0; i < config.depth; ++i) {
    block.drop_path =
        config.depth > 1 ? config.drop_path * static_cast<double>(i) / static_cast<double>(config.depth - 1) : 0;
    blocks_.push_back(std::make_unique<TransformerBlock>(init, block));
    add("blocks." + std::to_string(i), *blocks_.back());
    flops_ += block_flops(block, tokens);
  }
  norm_ = std::make_unique<LayerNorm>(init, config.width);
  add(config.gap ? "fc_norm" : "norm", *norm_);
  if (config.representation) {
    pre_logits_ = std::make_unique<PreLogits>(init, config.width, config.representation);
    add("pre_logits", *pre_logits_);
    flops_ += 2.0 * static_cast<double>(config.width * config.representation);
  }
}

/// images -> tokens (N,T,D): [class token,] patches, plus positions.
Var Vit::embed(const Var& images, const Context& context) const {
  Var x = patch_embed_.forward(as_activation(images));
  if (!config_.gap) x = concat({broadcast_to(as_activation(cls_token_), {x.dim(0), 1, config_.width}), x}, 1);
  require(x.dim(1) == pos_embed_.dim(1), "vit", "expected images of ", pos_embed_.dim(1),
          " tokens (the class token included), got ", x.dim(1), " from ", images.value());
  return pos_drop_.forward(x + as_activation(pos_embed_), context);
}

/// x (N,T,D) -> (N,D). The norm works on each token alone, so the class token is taken before it.
Var Vit::pool(const Var& x) const {
  if (config_.gap) return norm_->forward(mean(x, 1));
  return norm_->forward(reshape(slice(x, 1, 0, 1), {x.dim(0), config_.width}));
}

Var Vit::forward(const Var& images, const Context& context) {
  Var x = embed(images, context);
  for (const auto& block : blocks_) x = run_block(*block, x, context, config_.recompute);
  const Var phi = pool(x);
  return as_feature(pre_logits_ ? tanh(pre_logits_->fc.forward(phi)) : phi);
}

}  // namespace sked
