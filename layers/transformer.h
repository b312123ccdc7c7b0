#pragma once
// The parts of a transformer (Vaswani et al., arXiv 1706.03762), named as in timm. x is (N,T,D).

#include "layers/dropout.h"
#include "layers/linear.h"
#include "layers/norm.h"

namespace sked {

/// Multi-head self-attention: proj(softmax(q kᵀ / sqrt(E)) v), H heads of width E = D/H. Children `qkv` (3D,D), `proj`
/// (D,D).
class Attention : public Module {
 public:
  Attention(Init& init, int64_t width, int64_t heads, double dropout = 0, bool causal = false);
  Var forward(const Var& x, const Context& context) const;

 private:
  int64_t heads_;
  bool causal_;
  Linear qkv_, proj_;
  Dropout drop_;
};

/// fc2(act(fc1(x))), act a GELU fused into fc1. Children `fc1` (M,D), `fc2` (D,M).
class Mlp : public Module {
 public:
  Mlp(Init& init, int64_t width, int64_t hidden, double dropout = 0, Activation act = Activation::gelu);
  Var forward(const Var& x, const Context& context) const;

 private:
  Activation act_;
  Linear fc1_;
  Dropout drop1_;
  Linear fc2_;
  Dropout drop2_;
};

/// What a block is made of.
struct BlockConfig {
  int64_t width = 0, heads = 0, mlp = 0;
  double dropout = 0, drop_path = 0;
  bool causal = false;
  Activation act = Activation::gelu;  // of the MLP
};

/// Pre-norm block: x ← x + attn(norm1(x)), x ← x + mlp(norm2(x)), each branch dropped with probability `drop_path`.
class TransformerBlock : public Module {
 public:
  TransformerBlock(Init& init, const BlockConfig& config);
  Var forward(const Var& x, const Context& context) const;

 private:
  LayerNorm norm1_;
  Attention attn_;
  DropPath drop_path1_;
  LayerNorm norm2_;
  Mlp mlp_;
  DropPath drop_path2_;
};

/// Arithmetic of one block on T tokens: 2T(4D² + 2DM) of the linear layers and 4T²D of attention.
double block_flops(const BlockConfig& config, int64_t tokens);

/// images (N,H,W,C) -> tokens (N, H/p · W/p, D), patches in row-major order. Child `proj`: `weight` (D,C,p,p), `bias`
/// (D), a convolution's filters as public checkpoints store them. A convolution whose stride is its kernel is one
/// matrix product over patches.
class PatchEmbed : public Module {
 public:
  PatchEmbed(Init& init, int64_t channels, int64_t patch, int64_t width);
  Var forward(const Var& images) const;

 private:
  struct Projection : Module {
    Projection(Init& init, const Shape& shape);
    Var weight, bias;
  };
  Projection proj_;
};

}  // namespace sked
