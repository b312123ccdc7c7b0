#pragma once
// Residual networks (He et al., arXiv 1512.03385), named as in torchvision: conv1, bn1, layer1.0.conv1,
// layer1.0.downsample.0 …

#include <memory>
#include <vector>

#include "layers/backbone.h"
#include "layers/conv.h"
#include "layers/models/options.h"
#include "layers/norm.h"

namespace sked {

struct ResNetConfig {
  std::vector<int64_t> blocks = {};  // per stage
  int64_t base_width = 64;           // channels of the first stage; doubled by each next one. Even with deep or pad
  bool bottleneck = false;           // 1×1, 3×3, 1×1 with four times the channels behind; else two 3×3
  Stem stem = Stem::imagenet;
  Shortcut shortcut = Shortcut::conv;
  int64_t groups = 1, width_per_group = 64;  // of a bottleneck's 3×3; see bottleneck_width
  bool recompute = false;                    // checkpoint every block
  BatchNormRows batch_norm = BatchNormRows::global;
};

/// Channels of a bottleneck's 3×3 in a stage of `width`: floor(width · width_per_group / 64) · groups, as in
/// torchvision.
int64_t bottleneck_width(const ResNetConfig& config, int64_t width);

/// The channels a convolution sees around it, and its stride.
struct BlockShape {
  int64_t in = 0, width = 0, stride = 1;
};

/// x (N,H,W,in) -> relu(f(x) + shortcut(x)), shortcut = identity or, where the shape changes, one of Shortcut.
/// Parameters of it: `downsample.0` and `.1`, with avg `.1` and `.2` (convolution, norm).
class ResidualBlock : public Module {
 public:
  virtual Var forward(const Var& x, const Context& context) = 0;
  /// Arithmetic for one image of (height, width).
  virtual double flops(int64_t height, int64_t width) const = 0;

 protected:
  ResidualBlock(Init& init, const BlockShape& shape, int64_t out, Shortcut kind);
  Var shortcut(const Var& x, const Context& context);
  double shortcut_flops(int64_t height, int64_t width) const;
  /// Registers the shortcut, last as in torchvision.
  void add_downsample();

 private:
  struct Downsample : Module {
    Downsample(Init& init, const BlockShape& shape, int64_t out, Shortcut kind);
    Conv2d conv;
    BatchNorm2d bn;
  };
  BlockShape shape_;
  int64_t out_;
  Shortcut kind_;
  std::unique_ptr<Downsample> downsample_;  // none: identity or pad
};

class ResNet : public Backbone {
 public:
  /// Images (N,H,W,C) of `image_shape` = (H,W,C).
  ResNet(const ResNetConfig& config, const Shape& image_shape, Init& init);

  Var forward(const Var& images, const Context& context) override {
    return forward_to(stages_.size() - 1, images, context);
  }
  /// `layer1` …: the mean over the positions of what a stage makes. That of the last is φ.
  std::vector<std::string> layers() const override;
  Var forward_to(size_t i, const Var& images, const Context& context) override;
  std::vector<std::vector<std::string>> parameter_layers() const override;
  int64_t width() const override { return width_; }
  double flops_per_image() const override { return flops_; }

 private:
  /// conv1: one convolution, `weight`; of the deep stem `0.weight`, `3.weight`, `6.weight` with norms `1` and `4`
  /// between them.
  struct StemLayer : Module {
    StemLayer(Init& init, int64_t in, int64_t out, Stem stem);
    Var forward(const Var& x, const Context& context);
    std::vector<std::unique_ptr<Conv2d>> convs;
    std::vector<std::unique_ptr<BatchNorm2d>> norms;
  };
  struct Stage : Module {
    std::vector<std::unique_ptr<ResidualBlock>> blocks;
    void push(std::unique_ptr<ResidualBlock> block);
  };

  bool max_pool_, recompute_;
  BatchNormRows batch_norm_;
  StemLayer conv1_;
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

/// The context of a network whose batch norm is of these rows: `local` knows no other ranks.
Context batch_norm_context(BatchNormRows rows, Context context);

}  // namespace sked
