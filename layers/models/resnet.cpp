#include "layers/models/resnet.h"

#include "autograd/pool.h"
#include "autograd/shape.h"
#include "layers/activations.h"
#include "layers/recompute.h"

namespace sked {

namespace {

constexpr Window kMaxPool{3, 2, 1};

/// (N,H,W,C) -> (N,⌈H/2⌉,⌈W/2⌉,C): means over 2×2, at an odd edge over the one row or column there is. That edge twice
/// has the same mean.
Var halved(const Var& x) {
  Var y = x;
  for (const int axis : {1, 2})
    if (const int64_t extent = y.dim(axis); extent % 2 == 1) y = concat({y, slice(y, axis, extent - 1, extent)}, axis);
  return avg_pool2d(y, {2, 2, 0});
}

/// Every stride-th pixel, between as many channels of zeros on both sides as make `out`.
Var padded(const Var& x, int64_t out, int64_t stride) {
  const Var y = stride == 1 ? x : avg_pool2d(x, {1, stride, 0});
  const Var zeros(Tensor::zeros(y.shape().with(3, (out - y.dim(3)) / 2), y.dtype(), y.device()));
  return concat({zeros, y, zeros}, 3);
}

/// Two 3×3 convolutions, the first with the stride.
class BasicBlock : public ResidualBlock {
 public:
  BasicBlock(Init& init, const BlockShape& s, const ResNetConfig& config)
      : ResidualBlock(init, s, s.width, config.shortcut),
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

/// 1×1 down to bottleneck_width, by default `width`; 3×3 with the stride (v1.5) and the groups; 1×1 up to 4·width.
class Bottleneck : public ResidualBlock {
 public:
  Bottleneck(Init& init, const BlockShape& s, const ResNetConfig& config)
      : Bottleneck(init, s, config, bottleneck_width(config, s.width)) {}

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
  Bottleneck(Init& init, const BlockShape& s, const ResNetConfig& config, int64_t middle)
      : ResidualBlock(init, s, 4 * s.width, config.shortcut),
        conv1_(init, s.in, middle, 1),
        bn1_(init, middle),
        conv2_(init, middle, middle, 3, s.stride, config.groups),
        bn2_(init, middle),
        conv3_(init, middle, 4 * s.width, 1),
        bn3_(init, 4 * s.width) {
    add("conv1", conv1_);
    add("bn1", bn1_);
    add("conv2", conv2_);
    add("bn2", bn2_);
    add("conv3", conv3_);
    add("bn3", bn3_);
    add_downsample();
  }

  Conv2d conv1_;
  BatchNorm2d bn1_;
  Conv2d conv2_;
  BatchNorm2d bn2_;
  Conv2d conv3_;
  BatchNorm2d bn3_;
};

std::unique_ptr<ResidualBlock> make_block(Init& init, const BlockShape& shape, const ResNetConfig& config) {
  if (config.bottleneck) return std::make_unique<Bottleneck>(init, shape, config);
  return std::make_unique<BasicBlock>(init, shape, config);
}

}  // namespace

int64_t bottleneck_width(const ResNetConfig& config, int64_t width) {
  return width * config.width_per_group / 64 * config.groups;
}

StemConv stem_conv(Stem stem) {
  switch (stem) {
    case Stem::cifar:
      return {3, 1};
    case Stem::cifar2:
    case Stem::deep:
      return {3, 2};
    default:
      return {7, 2};
  }
}

Context batch_norm_context(BatchNormRows rows, Context context) {
  if (rows == BatchNormRows::local) context.ranks = nullptr;
  return context;
}

ResidualBlock::Downsample::Downsample(Init& init, const BlockShape& shape, int64_t out, Shortcut kind)
    : conv(init, shape.in, out, 1, kind == Shortcut::avg ? 1 : shape.stride), bn(init, out) {
  add(kind == Shortcut::avg ? "1" : "0", conv);
  add(kind == Shortcut::avg ? "2" : "1", bn);
}

ResidualBlock::ResidualBlock(Init& init, const BlockShape& shape, int64_t out, Shortcut kind)
    : shape_(shape), out_(out), kind_(kind) {
  if (kind != Shortcut::pad && (shape.stride != 1 || shape.in != out))
    downsample_ = std::make_unique<Downsample>(init, shape, out, kind);
}

void ResidualBlock::add_downsample() {
  if (downsample_) add("downsample", *downsample_);
}

Var ResidualBlock::shortcut(const Var& x, const Context& context) {
  if (!downsample_) return shape_.stride == 1 && shape_.in == out_ ? x : padded(x, out_, shape_.stride);
  const Var y = kind_ == Shortcut::avg && shape_.stride == 2 ? halved(x) : x;
  return downsample_->bn.forward(downsample_->conv.forward(y), context);
}

double ResidualBlock::shortcut_flops(int64_t height, int64_t width) const {
  if (!downsample_) return 0;
  const bool halves = kind_ == Shortcut::avg && shape_.stride == 2;
  return halves ? downsample_->conv.flops((height + 1) / 2, (width + 1) / 2) : downsample_->conv.flops(height, width);
}

ResNet::StemLayer::StemLayer(Init& init, int64_t in, int64_t out, Stem stem) {
  const auto [kernel, stride] = stem_conv(stem);
  if (stem != Stem::deep) {
    convs.push_back(std::make_unique<Conv2d>(init, in, out, kernel, stride));
    add("", *convs[0]);
    return;
  }
  const int64_t half = out / 2;
  convs.push_back(std::make_unique<Conv2d>(init, in, half, kernel, stride));
  convs.push_back(std::make_unique<Conv2d>(init, half, half, kernel));
  convs.push_back(std::make_unique<Conv2d>(init, half, out, kernel));
  for (size_t i = 0; i < convs.size(); ++i) add(std::to_string(3 * i), *convs[i]);
  for (size_t i = 0; i < 2; ++i) {
    norms.push_back(std::make_unique<BatchNorm2d>(init, half));
    add(std::to_string(3 * i + 1), *norms[i]);
  }
}

Var ResNet::StemLayer::forward(const Var& x, const Context& context) {
  Var y = x;
  for (size_t i = 0; i < norms.size(); ++i) y = norms[i]->forward_relu(convs[i]->forward(y), context);
  return convs.back()->forward(y);
}

void ResNet::Stage::push(std::unique_ptr<ResidualBlock> block) {
  add(std::to_string(blocks.size()), *block);
  blocks.push_back(std::move(block));
}

ResNet::ResNet(const ResNetConfig& config, const Shape& image_shape, Init& init)
    : max_pool_(config.stem == Stem::imagenet || config.stem == Stem::deep),
      recompute_(config.recompute),
      batch_norm_(config.batch_norm),
      conv1_(init, image_shape[2], config.base_width, config.stem),
      bn1_(init, config.base_width) {
  add("conv1", conv1_);
  add("bn1", bn1_);
  int64_t height = image_shape[0], width = image_shape[1];
  const auto through = [&](const Window& window) {
    height = window.output(height);
    width = window.output(width);
  };
  for (const auto& conv : conv1_.convs) {
    flops_ += conv->flops(height, width);
    through(conv->window());
  }
  if (max_pool_) through(kMaxPool);

  BlockShape shape{config.base_width, config.base_width, 1};
  for (size_t s = 0; s < config.blocks.size(); ++s, shape.width *= 2) {
    stages_.push_back(std::make_unique<Stage>());
    add("layer" + std::to_string(s + 1), *stages_.back());
    for (int64_t b = 0; b < config.blocks[s]; ++b) {
      shape.stride = s > 0 && b == 0 ? 2 : 1;
      stages_.back()->push(make_block(init, shape, config));
      flops_ += stages_.back()->blocks.back()->flops(height, width);
      through({3, shape.stride, 1});
      shape.in = config.bottleneck ? 4 * shape.width : shape.width;
    }
  }
  width_ = shape.in;
}

std::vector<std::string> ResNet::layers() const {
  std::vector<std::string> names;
  for (size_t s = 0; s < stages_.size(); ++s) names.push_back("layer" + std::to_string(s + 1));
  return names;
}

std::vector<std::vector<std::string>> ResNet::parameter_layers() const {
  std::vector<std::vector<std::string>> layers{{"conv1", "bn1"}};
  for (size_t s = 0; s < stages_.size(); ++s)
    for (size_t b = 0; b < stages_[s]->blocks.size(); ++b)
      layers.push_back({"layer" + std::to_string(s + 1) + "." + std::to_string(b)});
  return layers;
}

Var ResNet::forward_to(size_t i, const Var& images, const Context& of_step) {
  const Context context = batch_norm_context(batch_norm_, of_step);
  Var x = bn1_.forward_relu(conv1_.forward(as_activation(images, context), context), context);
  if (max_pool_) x = max_pool2d(x, kMaxPool);
  for (size_t s = 0; s <= i; ++s)
    for (const auto& block : stages_[s]->blocks) x = run_block(*block, x, context, recompute_);
  return as_feature(global_avg_pool(x));
}

}  // namespace sked
