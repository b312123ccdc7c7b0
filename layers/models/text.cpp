#include "layers/models/text.h"

#include "autograd/elementwise.h"
#include "autograd/index.h"
#include "autograd/shape.h"
#include "layers/activations.h"
#include "layers/models/limits.h"

namespace sked {

namespace {

using detail::check_heads, detail::check_probability, detail::check_size, detail::kMaxDepth, detail::kMaxWidth;

constexpr int64_t kMaxContext = 1 << 16, kMaxVocabulary = 1 << 24;

/// The configuration with its defaults filled in, once it has passed.
TextConfig checked(TextConfig c, int64_t vocabulary) {
  check_size(c.context, kMaxContext, "text.context");
  check_size(c.width, kMaxWidth, "text.width");
  if (c.mlp == 0) c.mlp = 4 * c.width;
  check_size(c.depth, kMaxDepth, "text.depth");
  check_size(c.heads, kMaxWidth, "text.heads");
  check_size(c.mlp, 4 * kMaxWidth, "text.mlp");
  check_heads(c.width, c.heads, "text.heads");
  check_probability(c.dropout, "text.dropout");
  check_size(vocabulary, kMaxVocabulary, "text (size of the vocabulary)");
  return c;
}

}  // namespace

TextTower::TextTower(const TextConfig& config, int64_t vocabulary, Init& init)
    : config_(checked(config, vocabulary)),
      token_embedding_(parameter(init.normal({vocabulary, config_.width}, 0.02))),
      positional_embedding_(parameter(init.normal({config_.context, config_.width}, 0.01))),
      drop_(init, config_.dropout),
      ln_final_(init, config_.width) {
  add("token_embedding.weight", token_embedding_);
  add("positional_embedding", positional_embedding_);
  const BlockConfig block{.width = config_.width,
                          .heads = config_.heads,
                          .mlp = config_.mlp,
                          .dropout = config_.dropout,
                          .causal = config_.pool == TextPool::last};
  for (int64_t i = 0; i < config_.depth; ++i) {
    blocks_.push_back(std::make_unique<TransformerBlock>(init, block));
    add("blocks." + std::to_string(i), *blocks_.back());
    flops_ += block_flops(block, config_.context);
  }
  add("ln_final", ln_final_);
}

Var TextTower::forward(const Tensor& tokens, const Tensor& ends, const Context& context) const {
  require(tokens.defined() && tokens.ndim() == 2 && tokens.dim(1) == config_.context, "text", "expected tokens (N, ",
          config_.context, "), got ", tokens);
  const Var embedded = as_activation(embedding(token_embedding_, tokens) + positional_embedding_, context);
  const Var x = run_blocks(blocks_, blocks_.size(), drop_.forward(embedded, context), context,
                           config_.recompute);  // (N,T,W)
  return as_feature(ln_final_.forward(read(x, ends)));
}

// Ends on a device are looked at there alone: the host would have to wait for them.
Var TextTower::read(const Var& x, const Tensor& ends) const {
  const int64_t N = x.dim(0), T = x.dim(1);
  if (config_.pool != TextPool::last) return reshape(slice(x, 1, 0, 1), {N, config_.width});
  require_shape(ends, {N}, "text", "ends");
  require(ends.dtype() == DType::i64, "text", "expected ends in i64, got ", ends);
  for (int64_t n = 0; ends.device() == Device::cpu && n < N; ++n) {
    const int64_t end = ends.data<int64_t>()[n];
    require(end >= 0 && end < T, "text", "expected ends in 0 to ", T - 1, ", got ", end, " in row ", n);
  }
  return pick(permute(x, {0, 2, 1}), ends.to(x.device()));  // of (N,W,T)
}

}  // namespace sked
