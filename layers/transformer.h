#pragma once
// The parts of a transformer (Vaswani et al., arXiv 1706.03762), named as in timm. x is (N,T,D).

#include <memory>
#include <vector>

#include "autograd/elementwise.h"
#include "core/names.h"
#include "layers/dropout.h"
#include "layers/linear.h"
#include "layers/norm.h"

namespace sked {

/// x Φ(x) · its tanh approximation · x σ(1.702 x) (both: Hendrycks & Gimpel, arXiv 1606.08415; the second as CLIP has
/// it).
enum class Gelu { exact, tanh, quick };
constexpr std::array<const char*, 3> names_of(Gelu) { return {"exact", "tanh", "quick"}; }

/// What a block is made of.
struct BlockConfig {
  int64_t width = 0, heads = 0, mlp = 0;
  double dropout = 0, drop_path = 0;
  bool causal = false;
  Gelu gelu = Gelu::exact;  // of the MLP
  double norm_eps = 1e-6;   // of every layer norm
  bool qk_norm = false;     // q and k pass a layer norm before they meet (Dehghani et al., arXiv 2302.05442)
  double layer_scale = 0;   // factors γ of each branch start with this (Touvron et al., arXiv 2103.17239); 0: none
};

/// Multi-head self-attention: proj(softmax(q kᵀ / sqrt(E)) v), H heads of width E = D/H. Children `qkv` (3D,D), `proj`
/// (D,D); with qk_norm also `q_norm`, `k_norm` (E), layer norms shared by the heads.
class Attention : public Module {
 public:
  Attention(Init& init, const BlockConfig& config);
  Var forward(const Var& x, const Context& context) const;

 private:
  /// qkv (N,T,3D) with each head's q and k normalized.
  Var normalize(const Var& qkv) const;

  int64_t heads_;
  bool causal_;
  Linear qkv_, proj_;
  Dropout drop_;
  std::unique_ptr<LayerNorm> q_norm_, k_norm_;
};

/// fc2(gelu(fc1(x))), the GELU fused into fc1 but for the quick one, which is made of other ops and so costs a few more
/// passes over the hidden layer. Children `fc1` (M,D), `fc2` (D,M).
class Mlp : public Module {
 public:
  Mlp(Init& init, int64_t width, int64_t hidden, double dropout = 0, Gelu gelu = Gelu::exact);
  Var forward(const Var& x, const Context& context) const;

 private:
  Var hidden(const Var& x) const;

  Gelu gelu_;
  Linear fc1_;
  Dropout drop1_;
  Linear fc2_;
  Dropout drop2_;
};

/// y ← γ y, element by element of the width. Parameter `gamma` (D).
class LayerScale : public Module {
 public:
  LayerScale(Init& init, int64_t width, double start);
  Var forward(const Var& x) const;

 private:
  Var gamma_;
};

/// x (N,T,D) of a residual connection and the branch that is still to be added: the layer norm that reads the sum makes
/// it in its own pass. Without a branch it is x.
struct ResidualStream {
  Var x, branch;

  Var sum() const { return branch.defined() ? x + branch : x; }
};

/// Pre-norm block: x ← x + attn(norm1(x)), x ← x + mlp(norm2(x)), each branch scaled by `ls1`, `ls2` where there is a
/// layer scale, and dropped with probability `drop_path`.
class TransformerBlock : public Module {
 public:
  TransformerBlock(Init& init, const BlockConfig& config);
  /// Takes the stream over, so that off the tape nothing of it outlives its last reader.
  ResidualStream forward(ResidualStream in, const Context& context) const;
  Var forward(const Var& x, const Context& context) const { return forward(ResidualStream{x, {}}, context).sum(); }

 private:
  LayerNorm norm1_;
  Attention attn_;
  DropPath drop_path1_;
  LayerNorm norm2_;
  Mlp mlp_;
  DropPath drop_path2_;
  std::unique_ptr<LayerScale> ls1_, ls2_;
};

using TransformerBlocks = std::vector<std::unique_ptr<TransformerBlock>>;

/// x (N,T,D) through the first `count` blocks, with gradient checkpointing of each where `checkpoint` asks for it.
Var run_blocks(const TransformerBlocks& blocks, size_t count, const Var& x, const Context& context, bool checkpoint);

/// Attention pooling by one learned query (Lee et al., arXiv 1810.00825; Zhai et al., arXiv 2106.04560), timm's
/// AttentionPoolLatent: x (N,T,D) -> y + mlp(norm(y)) (N,D) with y = proj(softmax(q kᵀ / sqrt(E)) v). Parameter
/// `latent` (1,1,D), children `q` (D,D), `kv` (2D,D), `proj` (D,D), `norm`, `mlp`. No dropout, as in timm. Of `config`
/// it reads width, heads, mlp, gelu and norm_eps.
class AttentionPool : public Module {
 public:
  AttentionPool(Init& init, const BlockConfig& config);
  Var forward(const Var& x, const Context& context) const;

 private:
  int64_t heads_;
  Var latent_;
  Linear q_, kv_, proj_;
  LayerNorm norm_;
  Mlp mlp_;
};

/// Arithmetic of the pooling of T tokens: 4TD² for keys and values, 4TD of attention, 2D² for the query, which all
/// images share but which is usually counted for each, and 2D² + 4DM behind it.
double attention_pool_flops(const BlockConfig& config, int64_t tokens);

/// Arithmetic of one block on T tokens: 2T(4D² + 2DM) of the linear layers and 4T²D of attention.
double block_flops(const BlockConfig& config, int64_t tokens);

/// images (N,H,W,C) -> tokens (N, H/p · W/p, D), patches in row-major order. Child `proj`: `weight` (D,C,p,p), `bias`
/// (D) unless there is none, a convolution's filters as public checkpoints store them. A convolution whose stride is
/// its kernel is one matrix product over patches.
class PatchEmbed : public Module {
 public:
  PatchEmbed(Init& init, int64_t channels, int64_t patch, int64_t width, bool bias = true);
  Var forward(const Var& images) const;

 private:
  struct Projection : Module {
    Projection(Init& init, const Shape& shape, bool biased);
    Var weight, bias;
  };
  Projection proj_;
};

}  // namespace sked
