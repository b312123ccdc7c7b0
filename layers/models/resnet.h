#pragma once
// Residual networks (He et al., arXiv 1512.03385), named as in torchvision: conv1, bn1, layer1.0.conv1,
// layer1.0.downsample.0 …

#include <memory>
#include <vector>

#include "layers/backbone.h"
#include "layers/conv.h"
#include "layers/norm.h"

namespace sked {

/// How images enter. imagenet: 7×7 stride 2, then 3×3 max pooling of stride 2 · cifar: 3×3 stride 1 · cifar2: 3×3
/// stride 2.
enum class Stem { imagenet, cifar, cifar2 };

struct ResNetConfig {
  std::vector<int64_t> blocks = {};  // per stage
  int64_t base_width = 64;           // channels of the first stage; doubled by each next one
  bool bottleneck = false;           // 1×1, 3×3, 1×1 with four times the channels behind; else two 3×3
  Stem stem = Stem::imagenet;
  bool recompute = false;  // checkpoint every block
};

/// The channels a convolution sees around it, and its stride.
struct BlockShape {
  int64_t in = 0, width = 0, stride = 1;
};

/// x (N,H,W,in) -> relu(f(x) + shortcut(x)), shortcut = identity or, where the shape changes, 1×1 convolution and batch
/// norm (He et al.'s option B; also in the CIFAR networks, where their option A would save 2,752 of ResNet-20's 272
/// thousand parameters).
class ResidualBlock : public Module {
 public:
  virtual Var forward(const Var& x, const Context& context) = 0;
  /// Arithmetic for one image of (height, width).
  virtual double flops(int64_t height, int64_t width) const = 0;

 protected:
  ResidualBlock(Init& init, const BlockShape& shape, int64_t out);
  Var shortcut(const Var& x, const Context& context);
  double shortcut_flops(int64_t height, int64_t width) const;
  /// Registers the shortcut, last as in torchvision.
  void add_downsample();

 private:
  struct Downsample : Module {
    Downsample(Init& init, int64_t in, int64_t out, int64_t stride);
    Conv2d conv;
    BatchNorm2d bn;
  };
  std::unique_ptr<Downsample> downsample_;
};

class ResNet : public Backbone {
 public:
  /// Images (N,H,W,C) of `image_shape` = (H,W,C).
  ResNet(const ResNetConfig& config, const Shape& image_shape, Init& init);

  Var forward(const Var& images, const Context& context) override;
  int64_t width() const override { return width_; }
  double flops_per_image() const override { return flops_; }

 private:
  struct Stage : Module {
    std::vector<std::unique_ptr<ResidualBlock>> blocks;
    void push(std::unique_ptr<ResidualBlock> block);
  };

  bool max_pool_, recompute_;
  Conv2d conv1_;
  BatchNorm2d bn1_;
  std::vector<std::unique_ptr<Stage>> stages_;
  int64_t width_ = 0;
  double flops_ = 0;
};

/// The first convolution of `stem`.
struct StemConv {
  int64_t kernel, stride;
};
StemConv stem_conv(Stem stem);

}  // namespace sked
