#pragma once
// A backbone for examples that are vectors: what another network made of images or texts (embeddings), or measurements.

#include <memory>
#include <vector>

#include "layers/backbone.h"
#include "layers/dropout.h"
#include "layers/linear.h"
#include "layers/models/options.h"
#include "layers/norm.h"

namespace sked {

/// What is done to x (N,D), in this order. Without any of it φ = x.
struct FeaturesConfig {
  bool standardize = false;          // each coordinate to mean 0 and deviation 1 over the training examples
  bool l2_normalize = false;         // each row to length 1
  std::vector<int64_t> widths = {};  // layers of a perceptron
  MlpActivation activation = MlpActivation::relu;
  bool layer_norm = false;  // in front of each activation
  double dropout = 0;       // behind each activation
};

/// x (N,D) f32 -> φ (N,W), W the last of the widths, or D. With standardize buffers `standardize.mean` and
/// `standardize.std` f32 (D), 0 and 1 until standardize_by() or a checkpoint sets them. The i-th layer is
/// dropout(act(norm(W x + b))) with parameters `layers.i.linear.weight` (W,W′; Kaiming normal, fan-out), `.bias` (0)
/// and, with layer_norm, `layers.i.norm.weight`, `.bias`.
class Features : public Backbone {
 public:
  Features(const FeaturesConfig& config, int64_t dimension, Init& init);
  ~Features() override;

  Var forward(const Var& x, const Context& context) override;
  std::vector<std::vector<std::string>> parameter_layers() const override;
  int64_t width() const override { return width_; }
  double flops_per_image() const override { return flops_; }
  /// Are there statistics to be set?
  bool standardizes() const { return mean_.defined(); }
  /// Of the training examples: f32 (D), on any device. A deviation of 0, of a coordinate that never changes, counts as
  /// 1, as in scikit-learn's StandardScaler.
  void standardize_by(const Tensor& mean, const Tensor& deviation);

 private:
  struct Layer;

  FeaturesConfig config_;
  int64_t width_;
  double flops_ = 0;
  Tensor mean_, std_;
  std::vector<std::unique_ptr<Layer>> layers_;
};

}  // namespace sked
