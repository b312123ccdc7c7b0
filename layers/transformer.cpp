#include "layers/transformer.h"

#include <cmath>
#include <utility>

#include "autograd/attention.h"
#include "autograd/matmul.h"
#include "autograd/shape.h"
#include "autograd/softmax.h"
#include "layers/activations.h"
#include "layers/recompute.h"

namespace sked {

namespace {

void check_heads(int64_t width, int64_t heads, const char* where) {
  require_usage(heads > 0 && width % heads == 0, where, "expected heads that divide the width, got ", heads,
                " heads of a width of ", width);
}

/// The one that a linear layer can fuse.
Activation fused(Gelu gelu) { return gelu == Gelu::tanh ? Activation::gelu_tanh : Activation::gelu; }

}  // namespace

Attention::Attention(Init& init, const BlockConfig& config)
    : heads_(config.heads),
      causal_(config.causal),
      qkv_(vit_linear(init, config.width, 3 * config.width)),
      proj_(vit_linear(init, config.width, config.width)),
      drop_(init, config.dropout) {
  check_heads(config.width, heads_, "attention");
  add("qkv", qkv_);
  if (config.qk_norm) {
    q_norm_ = std::make_unique<LayerNorm>(init, config.width / heads_, config.norm_eps);
    k_norm_ = std::make_unique<LayerNorm>(init, config.width / heads_, config.norm_eps);
    add("q_norm", *q_norm_);
    add("k_norm", *k_norm_);
  }
  add("proj", proj_);
}

Var Attention::normalize(const Var& qkv) const {
  const int64_t N = qkv.dim(0), T = qkv.dim(1), D = qkv.dim(2) / 3;
  const auto normal = [&](const LayerNorm& norm, int64_t part) {
    const Var heads = reshape(slice(qkv, 2, part * D, (part + 1) * D), {N, T, heads_, D / heads_});
    return reshape(norm.forward(heads), {N, T, D});
  };
  return concat({normal(*q_norm_, 0), normal(*k_norm_, 1), slice(qkv, 2, 2 * D, 3 * D)}, 2);
}

Var Attention::forward(const Var& x, const Context& context) const {
  const Var qkv = qkv_.forward(x);
  const Var mixed = attention(q_norm_ ? normalize(qkv) : qkv, heads_, causal_);  // (N,T,D)
  return drop_.forward(proj_.forward(mixed), context);
}

Mlp::Mlp(Init& init, int64_t width, int64_t hidden, double dropout, Gelu gelu)
    : gelu_(gelu),
      fc1_(vit_linear(init, width, hidden)),
      drop1_(init, dropout),
      fc2_(vit_linear(init, hidden, width)),
      drop2_(init, dropout) {
  add("fc1", fc1_);
  add("fc2", fc2_);
}

Var Mlp::hidden(const Var& x) const {
  if (gelu_ != Gelu::quick) return fc1_.forward(x, fused(gelu_));
  const Var y = fc1_.forward(x);
  return y * sigmoid(y * 1.702);
}

Var Mlp::forward(const Var& x, const Context& context) const {
  if (!drop1_.drops(context) && gelu_ != Gelu::quick)
    return drop2_.forward(mlp(x, fc1_.weight(), fc1_.bias(), fc2_.weight(), fc2_.bias(), fused(gelu_)), context);
  return drop2_.forward(fc2_.forward(drop1_.forward(hidden(x), context)), context);
}

LayerScale::LayerScale(Init& init, int64_t width, double start) : gamma_(parameter(init.constant({width}, start))) {
  add("gamma", gamma_);
}

Var LayerScale::forward(const Var& x) const { return x * cast(gamma_, x.dtype()); }

TransformerBlock::TransformerBlock(Init& init, const BlockConfig& config)
    : norm1_(init, config.width, config.norm_eps),
      attn_(init, config),
      drop_path1_(init, config.drop_path),
      norm2_(init, config.width, config.norm_eps),
      mlp_(init, config.width, config.mlp, config.dropout, config.gelu),
      drop_path2_(init, config.drop_path) {
  if (config.layer_scale != 0) {
    ls1_ = std::make_unique<LayerScale>(init, config.width, config.layer_scale);
    ls2_ = std::make_unique<LayerScale>(init, config.width, config.layer_scale);
  }
  add("norm1", norm1_);
  add("attn", attn_);
  if (ls1_) add("ls1", *ls1_);
  add("norm2", norm2_);
  add("mlp", mlp_);
  if (ls2_) add("ls2", *ls2_);
}

ResidualStream TransformerBlock::forward(ResidualStream in, const Context& context) const {
  const auto scaled = [](const std::unique_ptr<LayerScale>& scale, const Var& y) {
    return scale ? scale->forward(y) : y;
  };
  NormedSum x = in.branch.defined() ? norm1_.forward_sum(in.x, in.branch) : NormedSum{in.x, norm1_.forward(in.x)};
  in = {};
  Var branch = attn_.forward(x.normed, context);
  x.normed = {};
  branch = drop_path1_.forward(scaled(ls1_, branch), context);
  const NormedSum y = norm2_.forward_sum(x.sum, branch);
  x = {}, branch = {};
  return {y.sum, drop_path2_.forward(scaled(ls2_, mlp_.forward(y.normed, context)), context)};
}

Var run_blocks(const TransformerBlocks& blocks, size_t count, const Var& x, const Context& context, bool checkpoint) {
  ResidualStream stream{x, {}};
  for (size_t i = 0; i < count; ++i) {
    if (checkpoint && context.training)  // what is kept of a block is one tensor: the sum
      stream = {run_block(*blocks[i], stream.x, context, true), {}};
    else
      stream = blocks[i]->forward(std::move(stream), context);
  }
  return stream.sum();
}

// timm draws the latent by trunc_normal_tf_: cut at two of its standard deviations.
AttentionPool::AttentionPool(Init& init, const BlockConfig& config)
    : heads_(config.heads),
      latent_(parameter(init.truncated_normal({1, 1, config.width}, 1 / std::sqrt(static_cast<double>(config.width)),
                                              2 / std::sqrt(static_cast<double>(config.width))))),
      q_(vit_linear(init, config.width, config.width)),
      kv_(vit_linear(init, config.width, 2 * config.width)),
      proj_(vit_linear(init, config.width, config.width)),
      norm_(init, config.width, config.norm_eps),
      mlp_(init, config.width, config.mlp, 0, config.gelu) {
  check_heads(config.width, heads_, "attention_pool");
  add("latent", latent_);
  add("q", q_);
  add("kv", kv_);
  add("proj", proj_);
  add("norm", norm_);
  add("mlp", mlp_);
}

Var AttentionPool::forward(const Var& x, const Context& context) const {
  const int64_t N = x.dim(0), T = x.dim(1), D = x.dim(2), H = heads_, E = D / H;
  const Var kv = permute(reshape(kv_.forward(x), {N, T, 2, H, E}), {2, 0, 3, 1, 4});  // (2,N,H,T,E)
  const auto part = [&](int64_t i) { return reshape(slice(kv, 0, i, i + 1), {N, H, T, E}); };
  const Var q = broadcast_to(reshape(q_.forward(cast(latent_, x.dtype())), {1, H, 1, E}), {N, H, 1, E});
  const Var p = softmax(matmul(q, part(0), false, true) / std::sqrt(static_cast<double>(E)));  // (N,H,1,T)
  const Var y = proj_.forward(reshape(matmul(p, part(1)), {N, D}));
  return y + mlp_.forward(norm_.forward(y), context);
}

double attention_pool_flops(const BlockConfig& config, int64_t tokens) {
  const double t = static_cast<double>(tokens), d = static_cast<double>(config.width);
  return 4 * t * d * d + 4 * t * d + 4 * d * d + 4 * d * static_cast<double>(config.mlp);
}

double block_flops(const BlockConfig& config, int64_t tokens) {
  const double t = static_cast<double>(tokens), d = static_cast<double>(config.width);
  return 2 * t * (4 * d * d + 2 * d * static_cast<double>(config.mlp)) + 4 * t * t * d;
}

PatchEmbed::Projection::Projection(Init& init, const Shape& shape, bool biased)
    : weight(parameter(init.lecun_normal(shape))) {
  add("weight", weight);
  if (!biased) return;
  bias = parameter(init.constant({shape[0]}, 0));
  add("bias", bias);
}

PatchEmbed::PatchEmbed(Init& init, int64_t channels, int64_t patch, int64_t width, bool bias)
    : proj_(init, {width, channels, patch, patch}, bias) {
  add("proj", proj_);
}

Var PatchEmbed::forward(const Var& images) const {
  const Var& w = proj_.weight;  // (D,C,p,p)
  const int64_t d = w.dim(0), c = w.dim(1), p = w.dim(2);
  require(images.ndim() == 4 && images.dim(3) == c && images.dim(1) % p == 0 && images.dim(2) % p == 0, "patch_embed",
          "expected images (N,H,W,", c, ") with H and W multiples of ", p, ", got ", images.value());
  const int64_t n = images.dim(0), rows = images.dim(1) / p, columns = images.dim(2) / p;
  // Patches keep the images' own order (row, column, channel), so whole runs of p·C numbers move; the small weight is
  // turned instead.
  const Var grid = permute(reshape(images, {n, rows, p, columns, p, c}), {0, 1, 3, 2, 4, 5});
  const Var filters = reshape(permute(w, {0, 2, 3, 1}), {d, p * p * c});
  return linear(reshape(grid, {n, rows * columns, p * p * c}), filters, proj_.bias);
}

}  // namespace sked
