#pragma once
// Wide residual networks for CIFAR (Zagoruyko & Komodakis, arXiv 1605.07146), in the form of uncertainty-baselines'
// wide_resnet: pre-activation, shortcuts without norms that see what no ReLU has seen. Padding is on both sides, as in
// PyTorch; TensorFlow's, where its stride is 2, is behind alone: weights trained there see an image moved by a pixel.
// Named as He et al.'s for CIFAR: conv1, layer1.0.bn1, layer1.0.conv1 …, layer1.0.downsample.0, bn1 behind the stages.

#include <memory>
#include <vector>

#include "layers/backbone.h"
#include "layers/conv.h"
#include "layers/dropout.h"
#include "layers/models/options.h"
#include "layers/norm.h"

namespace sked {

struct WideResNetConfig {
  std::vector<int64_t> blocks = {};  // per stage; n of each three in a network of 6n + 4 layers
  int64_t base_width = 160;          // channels of the first stage, 16 times the factor; doubled by each next one
  Stem stem = Stem::cifar;           // or cifar2; of 16 channels whatever base_width
  double dropout = 0;                // between the convolutions of a block
  bool recompute = false;            // checkpoint every block
  BatchNormRows batch_norm = BatchNormRows::global;
};

class WideResNet : public Backbone {
 public:
  /// Images (N,H,W,C) of `image_shape` = (H,W,C).
  WideResNet(const WideResNetConfig& config, const Shape& image_shape, Init& init);
  ~WideResNet() override;

  Var forward(const Var& images, const Context& context) override;
  std::vector<std::vector<std::string>> parameter_layers() const override;
  int64_t width() const override { return width_; }
  double flops_per_image() const override { return flops_; }

 private:
  class Block;
  struct Stage;

  bool recompute_;
  BatchNormRows batch_norm_;
  Conv2d conv1_;
  std::vector<std::unique_ptr<Stage>> stages_;
  std::unique_ptr<BatchNorm2d> bn1_;
  int64_t width_ = 0;
  double flops_ = 0;
};

}  // namespace sked
