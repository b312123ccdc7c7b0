#pragma once
// BiT: pre-activation ResNet-v2 with group norm and weight standardization (Kolesnikov et al., arXiv 1912.11370). No
// batch statistics, so it trains alike for any batch size. Named as timm's resnetv2: stem.conv, stages.0.blocks.0.norm1
// …, norm.

#include <memory>
#include <vector>

#include "layers/models/resnet.h"

namespace sked {

struct BitConfig {
  std::vector<int64_t> blocks = {};  // per stage
  int64_t base_width = 64;  // channels of the stem, a multiple of 32 (the groups); stage s has 4 · 2^s · base_width
  Stem stem = Stem::imagenet;
  bool recompute = false;
};

class Bit : public Backbone {
 public:
  Bit(const BitConfig& config, const Shape& image_shape, Init& init);
  ~Bit() override;

  Var forward(const Var& images, const Context& context) override;
  std::vector<std::vector<std::string>> parameter_layers() const override;
  int64_t width() const override { return width_; }
  double flops_per_image() const override { return flops_; }

 private:
  class Block;
  struct StemLayer : Module {
    StemLayer(Init& init, int64_t in, int64_t out, Stem stem);
    StdConv2d conv;
  };
  struct Stage;

  bool max_pool_, recompute_;
  StemLayer stem_;
  std::vector<std::unique_ptr<Stage>> stages_;
  std::unique_ptr<GroupNorm> norm_;
  int64_t width_ = 0;
  double flops_ = 0;
};

}  // namespace sked
