#include "layers/models/resnet.h"

#include "autograd/conv.h"
#include "layers/activations.h"
#include "layers/recompute.h"

namespace sked {

namespace {

constexpr Window kMaxPool{3, 2, 1};

/// Two 3×3 convolutions, the first with the stride.
class BasicBlock : public ResidualBlock {
 public:
  BasicBlock(Init& init, const BlockShape& s)
      : ResidualBlock(init, s, s.width),
        conv1_(init, s.in, s.width, 3, s.stride),
        bn1_(init, s.width),
        conv2_(init, s.width, s.width, 3),
        bn2_(init, s.width) {
    add("conv1", conv1_);
    add("bn1", bn1_);
    add("conv2", conv2_);
    add("bn2", bn2_);
    add_downsample();
  }

  Var forward(const Var& x, const Context& context) override {
    const Var y = bn1_.forward_relu(conv1_.forward(x), context);
    return bn2_.forward_add_relu(conv2_.forward(y), shortcut(x, context), context);
  }

  double flops(int64_t height, int64_t width) const override {
    const int64_t p = conv1_.window().output(height), q = conv1_.window().output(width);
    return conv1_.flops(height, width) + conv2_.flops(p, q) + shortcut_flops(height, width);
  }

 private:
  Conv2d conv1_;
  BatchNorm2d bn1_;
  Conv2d conv2_;
  BatchNorm2d bn2_;
};

/// 1×1 down to `width`, 3×3 with the stride (v1.5), 1×1 up to 4·width.
class Bottleneck : public ResidualBlock {
 public:
  Bottleneck(Init& init, const BlockShape& s)
      : ResidualBlock(init, s, 4 * s.width),
        conv1_(init, s.in, s.width, 1),
        bn1_(init, s.width),
        conv2_(init, s.width, s.width, 3, s.stride),
        bn2_(init, s.width),
        conv3_(init, s.width, 4 * s.width, 1),
        bn3_(init, 4 * s.width) {
    add("conv1", conv1_);
    add("bn1", bn1_);
    add("conv2", conv2_);
    add("bn2", bn2_);
    add("conv3", conv3_);
    add("bn3", bn3_);
    add_downsample();
  }

  Var forward(const Var& x, const Context& context) override {
    Var y = bn1_.forward_relu(conv1_.forward(x), context);
    y = bn2_.forward_relu(conv2_.forward(y), context);
    return bn3_.forward_add_relu(conv3_.forward(y), shortcut(x, context), context);
  }

  double flops(int64_t height, int64_t width) const override {
    const int64_t p = conv2_.window().output(height), q = conv2_.window().output(width);
    return conv1_.flops(height, width) + conv2_.flops(height, width) + conv3_.flops(p, q) +
           shortcut_flops(height, width);
  }

 private:
  Conv2d conv1_;
  BatchNorm2d bn1_;
  Conv2d conv2_;
  BatchNorm2d bn2_;
  Conv2d conv3_;
  BatchNorm2d bn3_;
};

std::unique_ptr<ResidualBlock> make_block(bool bottleneck, Init& init, const BlockShape& shape) {
  if (bottleneck) return std::make_unique<Bottleneck>(init, shape);
  return std::make_unique<BasicBlock>(init, shape);
}

}  // namespace

StemConv stem_conv(Stem stem) {
  switch (stem) {
    case Stem::cifar:
      return {3, 1};
    case Stem::cifar2:
      return {3, 2};
    default:
      return {7, 2};
  }
}

ResidualBlock::Downsample::Downsample(Init& init, int64_t in, int64_t out, int64_t stride)
    : conv(init, in, out, 1, stride), bn(init, out) {
  add("0", conv);
  add("1", bn);
}

ResidualBlock::ResidualBlock(Init& init, const BlockShape& shape, int64_t out) {
  if (shape.stride != 1 || shape.in != out)
    downsample_ = std::make_unique<Downsample>(init, shape.in, out, shape.stride);
}

void ResidualBlock::add_downsample() {
  if (downsample_) add("downsample", *downsample_);
}

Var ResidualBlock::shortcut(const Var& x, const Context& context) {
  return downsample_ ? downsample_->bn.forward(downsample_->conv.forward(x), context) : x;
}

double ResidualBlock::shortcut_flops(int64_t height, int64_t width) const {
  return downsample_ ? downsample_->conv.flops(height, width) : 0;
}

void ResNet::Stage::push(std::unique_ptr<ResidualBlock> block) {
  add(std::to_string(blocks.size()), *block);
  blocks.push_back(std::move(block));
}

ResNet::ResNet(const ResNetConfig& config, const Shape& image_shape, Init& init)
    : max_pool_(config.stem == Stem::imagenet),
      recompute_(config.recompute),
      conv1_(init, image_shape[2], config.base_width, stem_conv(config.stem).kernel, stem_conv(config.stem).stride),
      bn1_(init, config.base_width) {
  add("conv1", conv1_);
  add("bn1", bn1_);
  int64_t height = image_shape[0], width = image_shape[1];
  const auto through = [&](const Window& window) {
    height = window.output(height);
    width = window.output(width);
  };
  flops_ = conv1_.flops(height, width);
  through(conv1_.window());
  if (max_pool_) through(kMaxPool);

  BlockShape shape{config.base_width, config.base_width, 1};
  for (size_t s = 0; s < config.blocks.size(); ++s, shape.width *= 2) {
    stages_.push_back(std::make_unique<Stage>());
    add("layer" + std::to_string(s + 1), *stages_.back());
    for (int64_t b = 0; b < config.blocks[s]; ++b) {
      shape.stride = s > 0 && b == 0 ? 2 : 1;
      stages_.back()->push(make_block(config.bottleneck, init, shape));
      flops_ += stages_.back()->blocks.back()->flops(height, width);
      through({3, shape.stride, 1});
      shape.in = config.bottleneck ? 4 * shape.width : shape.width;
    }
  }
  width_ = shape.in;
}

Var ResNet::forward(const Var& images, const Context& context) {
  Var x = bn1_.forward_relu(conv1_.forward(as_activation(images)), context);
  if (max_pool_) x = max_pool2d(x, kMaxPool);
  for (const auto& stage : stages_)
    for (const auto& block : stage->blocks) x = run_block(*block, x, context, recompute_);
  return as_feature(global_avg_pool(x));
}

}  // namespace sked
