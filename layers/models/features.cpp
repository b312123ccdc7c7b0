#include "layers/models/features.h"

#include <string>

#include "autograd/elementwise.h"
#include "autograd/l2_normalize.h"
#include "layers/activations.h"

namespace sked {

struct Features::Layer : Module {
  Layer(Init& init, int64_t in, int64_t out, const FeaturesConfig& config)
      : linear(init.kaiming_fan_out({out, in}), init.constant({out}, 0)), drop(init, config.dropout) {
    add("linear", linear);
    if (!config.layer_norm) return;
    norm = std::make_unique<LayerNorm>(init, out);
    add("norm", *norm);
  }

  Var forward(const Var& x, MlpActivation act, const Context& context) const {
    if (act == MlpActivation::tanh) return drop.forward(tanh(before_activation(x)), context);
    const Activation fused = act == MlpActivation::relu ? Activation::relu : Activation::gelu;
    return drop.forward(norm ? unary(before_activation(x), unary_of(fused)) : linear.forward(x, fused), context);
  }

  Var before_activation(const Var& x) const {
    const Var y = linear.forward(x);
    return norm ? norm->forward(y) : y;
  }

  Linear linear;
  std::unique_ptr<LayerNorm> norm;
  Dropout drop;
};

Features::Features(const FeaturesConfig& config, int64_t dimension, Init& init) : config_(config), width_(dimension) {
  if (config.standardize) {
    mean_ = init.constant({dimension}, 0);
    std_ = init.constant({dimension}, 1);
    add("standardize.mean", mean_);
    add("standardize.std", std_);
  }
  for (const int64_t width : config.widths) {
    layers_.push_back(std::make_unique<Layer>(init, width_, width, config));
    add("layers." + std::to_string(layers_.size() - 1), *layers_.back());
    flops_ += 2.0 * static_cast<double>(width_) * static_cast<double>(width);
    width_ = width;
  }
}

Features::~Features() = default;

std::vector<std::vector<std::string>> Features::parameter_layers() const {
  std::vector<std::vector<std::string>> layers;
  for (size_t i = 0; i < layers_.size(); ++i) layers.push_back({"layers." + std::to_string(i)});
  return layers;
}

void Features::standardize_by(const Tensor& mean, const Tensor& deviation) {
  require(standardizes(), "standardize", "expected a model that standardizes (model.standardize)");
  require_shape(mean, mean_.shape(), "standardize", "mean");
  require_shape(deviation, std_.shape(), "standardize", "deviation");
  Tensor divisor = deviation.to(Device::cpu).clone();
  for (int64_t d = 0; d < divisor.numel(); ++d)
    if (divisor.data<float>()[d] == 0) divisor.data<float>()[d] = 1;
  mean_.copy_from(mean.to(mean_.device()));
  std_.copy_from(divisor.to(std_.device()));
}

Var Features::forward(const Var& x, const Context& context) {
  Var y = x;
  if (standardizes()) y = (y - Var(mean_)) / Var(std_);
  if (config_.l2_normalize) y = l2_normalize(y);
  if (layers_.empty()) return as_feature(y);
  y = as_activation(y, context);
  for (const auto& layer : layers_) y = layer->forward(y, config_.activation, context);
  return as_feature(y);
}

}  // namespace sked
