#pragma once
// Vision transformer (Dosovitskiy et al., arXiv 2010.11929), named as in timm: cls_token, reg_token, pos_embed,
// patch_embed.proj, norm_pre, blocks.0.attn.qkv …, norm or fc_norm, attn_pool.

#include <memory>
#include <vector>

#include "layers/backbone.h"
#include "layers/models/options.h"

namespace sked {

struct VitConfig {
  int64_t patch = 16, width = 192, depth = 12, heads = 3, mlp = 768;
  Pool pool = Pool::token;
  /// Tokens in front of the patches: a class token, then registers (Darcet et al., arXiv 2309.16588).
  bool class_token = true;
  int64_t registers = 0;
  bool embed_prefix = true;  // they have position embeddings too, else the patches alone (timm's no_embed_class)
  bool norm_pooled = false;  // the last norm is of what is pooled (`fc_norm`), else of the tokens (`norm`)
  bool pre_norm = false;     // `norm_pre` before the first block; the patch embedding has no bias then, as in timm
  bool qk_norm = false;
  double layer_scale = 0, norm_eps = 1e-6;
  Gelu gelu = Gelu::exact;
  /// Width of an extra layer φ ← tanh(pre_logits.fc φ); 0: none.
  int64_t representation = 0;
  /// Dropout as in the paper: behind every dense layer but qkv and behind the position embedding. drop_path grows
  /// linearly from 0 in the first block to this in the last.
  double dropout = 0, drop_path = 0;
  bool recompute = false;
};

class Vit : public Backbone {
 public:
  /// Images (N,H,W,C) of exactly `image_shape` = (H,W,C), H and W multiples of the patch.
  Vit(const VitConfig& config, const Shape& image_shape, Init& init);

  Var forward(const Var& images, const Context& context) override;
  /// `blocks.0` …: the class token behind a block, without the last norm; the mean of the patches where there is none.
  /// Behind them, in front of the tanh layer where there is one, `pooled`.
  std::vector<std::string> layers() const override;
  Var forward_to(size_t i, const Var& images, const Context& context) override;
  std::vector<std::vector<std::string>> parameter_layers() const override;
  int64_t width() const override { return config_.representation ? config_.representation : config_.width; }
  double flops_per_image() const override { return flops_; }

 private:
  struct PreLogits : Module {
    PreLogits(Init& init, int64_t in, int64_t out);
    Linear fc;
  };
  int64_t prefix() const { return (config_.class_token ? 1 : 0) + config_.registers; }
  void add_embedding(Init& init, int64_t patches);
  void add_blocks(Init& init, const BlockConfig& block, int64_t tokens);
  Var embed(const Var& images, const Context& context) const;
  /// What the first `blocks` make of them.
  Var tokens(const Var& images, size_t blocks, const Context& context) const;
  Var token_or_mean(const Var& x) const;
  Var pool(const Var& x, const Context& context) const;

  VitConfig config_;
  Var cls_token_, reg_token_, pos_embed_;
  PatchEmbed patch_embed_;
  Dropout pos_drop_;
  std::unique_ptr<LayerNorm> norm_pre_;
  TransformerBlocks blocks_;
  std::unique_ptr<LayerNorm> norm_;
  std::unique_ptr<AttentionPool> attn_pool_;
  std::unique_ptr<PreLogits> pre_logits_;
  double flops_ = 0;
};

}  // namespace sked
