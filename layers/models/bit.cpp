#include "layers/models/bit.h"

#include "autograd/elementwise.h"
#include "autograd/pool.h"
#include "autograd/shape.h"
#include "layers/activations.h"
#include "layers/recompute.h"

namespace sked {

namespace {

constexpr int64_t kGroups = 32;
constexpr Window kMaxPool{3, 2, 1};

/// Zeros around an image, `n` on each side of both axes.
Var pad_zeros(const Var& x, int64_t n) {
  Var y = x;
  for (const int axis : {1, 2}) {
    const Var zeros(Tensor::zeros(y.shape().with(axis, n), y.dtype(), y.device()));
    y = concat({zeros, y, zeros}, axis);
  }
  return y;
}

}  // namespace

/// x + conv3(relu(norm3(conv2(relu(norm2(conv1(h))))))) with h = relu(norm1(x)); the first block of a stage projects h
/// for its shortcut.
class Bit::Block : public Module {
 public:
  Block(Init& init, const BlockShape& s, bool project)
      : norm1_(init, s.in, kGroups),
        conv1_(init, s.in, s.width, 1),
        norm2_(init, s.width, kGroups),
        conv2_(init, s.width, s.width, 3, s.stride),
        norm3_(init, s.width, kGroups),
        conv3_(init, s.width, 4 * s.width, 1) {
    if (project) {
      downsample_ = std::make_unique<Downsample>(init, s.in, 4 * s.width, s.stride);
      add("downsample", *downsample_);
    }
    add("norm1", norm1_);
    add("conv1", conv1_);
    add("norm2", norm2_);
    add("conv2", conv2_);
    add("norm3", norm3_);
    add("conv3", conv3_);
  }

  Var forward(const Var& x, const Context&) const {
    const Var h = relu(norm1_.forward(x));
    Var y = conv1_.forward(h);
    y = conv2_.forward(relu(norm2_.forward(y)));
    y = conv3_.forward(relu(norm3_.forward(y)));
    return y + (downsample_ ? downsample_->conv.forward(h) : x);
  }

  double flops(int64_t height, int64_t width) const {
    const int64_t p = conv2_.window().output(height), q = conv2_.window().output(width);
    return conv1_.flops(height, width) + conv2_.flops(height, width) + conv3_.flops(p, q) +
           (downsample_ ? downsample_->conv.flops(height, width) : 0);
  }

 private:
  struct Downsample : Module {
    Downsample(Init& init, int64_t in, int64_t out, int64_t stride) : conv(init, in, out, 1, stride) {
      add("conv", conv);
    }
    StdConv2d conv;
  };
  std::unique_ptr<Downsample> downsample_;
  GroupNorm norm1_;
  StdConv2d conv1_;
  GroupNorm norm2_;
  StdConv2d conv2_;
  GroupNorm norm3_;
  StdConv2d conv3_;
};

struct Bit::Stage : Module {
  std::vector<std::unique_ptr<Block>> blocks;
  void push(std::unique_ptr<Block> block) {
    add("blocks." + std::to_string(blocks.size()), *block);
    blocks.push_back(std::move(block));
  }
};

Bit::StemLayer::StemLayer(Init& init, int64_t in, int64_t out, Stem stem)
    : conv(init, in, out, stem_conv(stem).kernel, stem_conv(stem).stride) {
  add("conv", conv);
}

Bit::Bit(const BitConfig& config, const Shape& image_shape, Init& init)
    : max_pool_(config.stem == Stem::imagenet),
      recompute_(config.recompute),
      stem_(init, image_shape[2], config.base_width, config.stem) {
  add("stem", stem_);
  int64_t height = image_shape[0], width = image_shape[1];
  const auto through = [&](const Window& window) {
    height = window.output(height);
    width = window.output(width);
  };
  flops_ = stem_.conv.flops(height, width);
  through(stem_.conv.window());
  if (max_pool_) through(kMaxPool);

  BlockShape shape{config.base_width, config.base_width, 1};
  for (size_t s = 0; s < config.blocks.size(); ++s, shape.width *= 2) {
    stages_.push_back(std::make_unique<Stage>());
    add("stages." + std::to_string(s), *stages_.back());
    for (int64_t b = 0; b < config.blocks[s]; ++b) {
      shape.stride = s > 0 && b == 0 ? 2 : 1;
      stages_.back()->push(std::make_unique<Block>(init, shape, b == 0));
      flops_ += stages_.back()->blocks.back()->flops(height, width);
      through({3, shape.stride, 1});
      shape.in = 4 * shape.width;
    }
  }
  width_ = shape.in;
  norm_ = std::make_unique<GroupNorm>(init, width_, kGroups);
  add("norm", *norm_);
}

Bit::~Bit() = default;

std::vector<std::vector<std::string>> Bit::parameter_layers() const {
  std::vector<std::vector<std::string>> layers{{"stem"}};
  for (size_t s = 0; s < stages_.size(); ++s)
    for (size_t b = 0; b < stages_[s]->blocks.size(); ++b)
      layers.push_back({"stages." + std::to_string(s) + ".blocks." + std::to_string(b)});
  layers.back().emplace_back("norm");
  return layers;
}

Var Bit::forward(const Var& images, const Context& context) {
  Var x = stem_.conv.forward(as_activation(images, context));
  // The pooling pads by zeros, not by −∞: no ReLU has gone before, so the two differ.
  if (max_pool_) x = max_pool2d(pad_zeros(x, kMaxPool.padding), {kMaxPool.kernel, kMaxPool.stride, 0});
  for (const auto& stage : stages_)
    for (const auto& block : stage->blocks) x = run_block(*block, x, context, recompute_);
  return as_feature(global_avg_pool(relu(norm_->forward(x))));
}

}  // namespace sked
