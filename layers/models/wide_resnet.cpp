#include "layers/models/wide_resnet.h"

#include "autograd/elementwise.h"
#include "autograd/pool.h"
#include "layers/activations.h"
#include "layers/models/resnet.h"
#include "layers/recompute.h"

namespace sked {

namespace {

constexpr int64_t kStemWidth = 16;

}  // namespace

/// shortcut(x) + conv2(dropout(relu(bn2(conv1(relu(bn1(x))))))), shortcut = identity or, where the shape changes, a 1×1
/// convolution of x with conv1's stride.
class WideResNet::Block : public Module {
 public:
  Block(Init& init, const BlockShape& s, double dropout)
      : bn1_(init, s.in),
        conv1_(init, s.in, s.width, 3, s.stride),
        bn2_(init, s.width),
        drop_(init, dropout),
        conv2_(init, s.width, s.width, 3) {
    add("bn1", bn1_);
    add("conv1", conv1_);
    add("bn2", bn2_);
    add("conv2", conv2_);
    if (s.stride == 1 && s.in == s.width) return;
    downsample_ = std::make_unique<Conv2d>(init, s.in, s.width, 1, s.stride);
    add("downsample.0", *downsample_);
  }

  Var forward(const Var& x, const Context& context) {
    const Var y = bn2_.forward_relu(conv1_.forward(bn1_.forward_relu(x, context)), context);
    return conv2_.forward(drop_.forward(y, context)) + (downsample_ ? downsample_->forward(x) : x);
  }

  double flops(int64_t height, int64_t width) const {
    const int64_t p = conv1_.window().output(height), q = conv1_.window().output(width);
    return conv1_.flops(height, width) + conv2_.flops(p, q) + (downsample_ ? downsample_->flops(height, width) : 0);
  }

 private:
  BatchNorm2d bn1_;
  Conv2d conv1_;
  BatchNorm2d bn2_;
  Dropout drop_;
  Conv2d conv2_;
  std::unique_ptr<Conv2d> downsample_;
};

struct WideResNet::Stage : Module {
  std::vector<std::unique_ptr<Block>> blocks;
  void push(std::unique_ptr<Block> block) {
    add(std::to_string(blocks.size()), *block);
    blocks.push_back(std::move(block));
  }
};

WideResNet::WideResNet(const WideResNetConfig& config, const Shape& image_shape, Init& init)
    : recompute_(config.recompute),
      batch_norm_(config.batch_norm),
      conv1_(init, image_shape[2], kStemWidth, stem_conv(config.stem).kernel, stem_conv(config.stem).stride) {
  add("conv1", conv1_);
  int64_t height = image_shape[0], width = image_shape[1];
  const auto through = [&](const Window& window) {
    height = window.output(height);
    width = window.output(width);
  };
  flops_ = conv1_.flops(height, width);
  through(conv1_.window());

  BlockShape shape{kStemWidth, config.base_width, 1};
  for (size_t s = 0; s < config.blocks.size(); ++s, shape.width *= 2) {
    stages_.push_back(std::make_unique<Stage>());
    add("layer" + std::to_string(s + 1), *stages_.back());
    for (int64_t b = 0; b < config.blocks[s]; ++b) {
      shape.stride = s > 0 && b == 0 ? 2 : 1;
      stages_.back()->push(std::make_unique<Block>(init, shape, config.dropout));
      flops_ += stages_.back()->blocks.back()->flops(height, width);
      through({3, shape.stride, 1});
      shape.in = shape.width;
    }
  }
  width_ = shape.in;
  bn1_ = std::make_unique<BatchNorm2d>(init, width_);
  add("bn1", *bn1_);
}

WideResNet::~WideResNet() = default;

std::vector<std::vector<std::string>> WideResNet::parameter_layers() const {
  std::vector<std::vector<std::string>> layers{{"conv1"}};
  for (size_t s = 0; s < stages_.size(); ++s)
    for (size_t b = 0; b < stages_[s]->blocks.size(); ++b)
      layers.push_back({"layer" + std::to_string(s + 1) + "." + std::to_string(b)});
  layers.back().emplace_back("bn1");
  return layers;
}

Var WideResNet::forward(const Var& images, const Context& of_step) {
  const Context context = batch_norm_context(batch_norm_, of_step);
  Var x = conv1_.forward(as_activation(images, context));
  for (const auto& stage : stages_)
    for (const auto& block : stage->blocks) x = run_block(*block, x, context, recompute_);
  return as_feature(global_avg_pool(bn1_->forward_relu(x, context)));
}

}  // namespace sked
