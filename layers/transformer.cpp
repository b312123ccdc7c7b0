#include "layers/transformer.h"

#include "autograd/attention.h"
#include "autograd/elementwise.h"
#include "autograd/matmul.h"
#include "autograd/shape.h"

namespace sked {

Attention::Attention(Init& init, int64_t width, int64_t heads, double dropout, bool causal)
    : heads_(heads),
      causal_(causal),
      qkv_(vit_linear(init, width, 3 * width)),
      proj_(vit_linear(init, width, width)),
      drop_(init, dropout) {
  require_usage(heads > 0 && width % heads == 0, "attention", "expected heads that divide the width, got ", heads,
                " heads of a width of ", width);
  add("qkv", qkv_);
  add("proj", proj_);
}

Var Attention::forward(const Var& x, const Context& context) const {
  const Var mixed = attention(qkv_.forward(x), heads_, causal_);  // (N,T,D)
  return drop_.forward(proj_.forward(mixed), context);
}

Mlp::Mlp(Init& init, int64_t width, int64_t hidden, double dropout, Activation act)
    : act_(act),
      fc1_(vit_linear(init, width, hidden)),
      drop1_(init, dropout),
      fc2_(vit_linear(init, hidden, width)),
      drop2_(init, dropout) {
  add("fc1", fc1_);
  add("fc2", fc2_);
}

Var Mlp::forward(const Var& x, const Context& context) const {
  if (!drop1_.drops(context))
    return drop2_.forward(mlp(x, fc1_.weight(), fc1_.bias(), fc2_.weight(), fc2_.bias(), act_), context);
  const Var hidden = drop1_.forward(fc1_.forward(x, act_), context);  // (N,T,M)
  return drop2_.forward(fc2_.forward(hidden), context);
}

TransformerBlock::TransformerBlock(Init& init, const BlockConfig& config)
    : norm1_(init, config.width),
      attn_(init, config.width, config.heads, config.dropout, config.causal),
      drop_path1_(init, config.drop_path),
      norm2_(init, config.width),
      mlp_(init, config.width, config.mlp, config.dropout, config.act),
      drop_path2_(init, config.drop_path) {
  add("norm1", norm1_);
  add("attn", attn_);
  add("norm2", norm2_);
  add("mlp", mlp_);
}

Var TransformerBlock::forward(const Var& x, const Context& context) const {
  const Var y = x + drop_path1_.forward(attn_.forward(norm1_.forward(x), context), context);
  return y + drop_path2_.forward(mlp_.forward(norm2_.forward(y), context), context);
}

double block_flops(const BlockConfig& config, int64_t tokens) {
  const double t = static_cast<double>(tokens), d = static_cast<double>(config.width);
  return 2 * t * (4 * d * d + 2 * d * static_cast<double>(config.mlp)) + 4 * t * t * d;
}

PatchEmbed::Projection::Projection(Init& init, const Shape& shape)
    : weight(parameter(init.lecun_normal(shape))), bias(parameter(init.constant({shape[0]}, 0))) {
  add("weight", weight);
  add("bias", bias);
}

PatchEmbed::PatchEmbed(Init& init, int64_t channels, int64_t patch, int64_t width)
    : proj_(init, {width, channels, patch, patch}) {
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
