#pragma once
// The text tower of image–text training: a transformer over tokens, as in CLIP (Radford et al., arXiv 2103.00020),
// named as there (token_embedding, positional_embedding, ln_final), its blocks as in timm.

#include <memory>
#include <vector>

#include "layers/transformer.h"

namespace sked {

/// What a text tower reads. last: causal attention, read at the end marker · token: full attention, read at the first
/// position; padding is attended to, as a token that is learned.
enum class TextPool { last, token };
constexpr std::array<const char*, 2> names_of(TextPool) { return {"last", "token"}; }

/// What a configuration file says about it.
struct TextConfig {
  int64_t context = 32;                                // T: tokens of a caption, markers included
  int64_t width = 128, depth = 4, heads = 4, mlp = 0;  // mlp 0: 4 · width
  TextPool pool = TextPool::last;
  double dropout = 0;      // behind the embedding and behind every dense layer but qkv, as in the vision transformers
  bool recompute = false;  // checkpoint every block
};

/// Parameters `token_embedding.weight` (V,W) ~ N(0, 0.02²), `positional_embedding` (T,W) ~ N(0, 0.01²),
/// `blocks.N.*` (TransformerBlock), `ln_final.*`.
class TextTower : public Module {
 public:
  /// Throws UsageError naming the key `text.*` for sizes out of range and heads that do not divide the width.
  TextTower(const TextConfig& config, int64_t vocabulary, Init& init);

  /// ψ (N,W) of captions tokens (N,T) i64 in 0 … V − 1, whatever stands behind the end marker; ends (N) i64: where each
  /// caption's end marker is (`last`; `token` does not look at it). ψ is ln_final of the block output at the position
  /// read. Throws for tokens and ends out of range, naming the row.
  Var forward(const Tensor& tokens, const Tensor& ends, const Context& context) const;

  int64_t width() const { return config_.width; }
  int64_t vocabulary() const { return token_embedding_.dim(0); }
  /// Multiply-adds × 2 of a caption.
  double flops_per_text() const { return flops_; }

 private:
  /// x (N,T,W) -> (N,W), one position of each caption.
  Var read(const Var& x, const Tensor& ends) const;

  TextConfig config_;
  Var token_embedding_, positional_embedding_;
  Dropout drop_;
  TransformerBlocks blocks_;
  LayerNorm ln_final_;
  double flops_ = 0;
};

}  // namespace sked
