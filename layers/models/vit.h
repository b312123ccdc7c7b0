#pragma once
// Vision transformer (Dosovitskiy et al., arXiv 2010.11929), named as in timm: cls_token, pos_embed, patch_embed.proj,
// blocks.0.attn.qkv …, norm or fc_norm.

#include <memory>
#include <vector>

#include "layers/backbone.h"
#include "layers/transformer.h"

namespace sked {

struct VitConfig {
  int64_t patch = 16, width = 192, depth = 12, heads = 3, mlp = 768;
  /// token: φ is the class token behind `norm`. gap: there is no class token, φ = fc_norm(mean of the tokens).
  bool gap = false;
  Activation gelu = Activation::gelu;  // or its tanh approximation
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
  int64_t width() const override { return config_.representation ? config_.representation : config_.width; }
  double flops_per_image() const override { return flops_; }

 private:
  struct PreLogits : Module {
    PreLogits(Init& init, int64_t in, int64_t out);
    Linear fc;
  };
  Var embed(const Var& images, const Context& context) const;
  Var pool(const Var& x) const;

  VitConfig config_;
  Var cls_token_, pos_embed_;
  PatchEmbed patch_embed_;
  Dropout pos_drop_;
  std::vector<std::unique_ptr<TransformerBlock>> blocks_;
  std::unique_ptr<LayerNorm> norm_;
  std::unique_ptr<PreLogits> pre_logits_;
  double flops_ = 0;
};

}  // namespace sked
