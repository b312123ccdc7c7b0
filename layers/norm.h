#pragma once
// Normalization layers; arithmetic in autograd/batch_norm.h and its siblings. Scales start at 1, shifts at 0.

#include "autograd/layer_norm.h"
#include "layers/module.h"

namespace sked {

/// Batch norm over all axes but the last, in training by batch statistics, else by running ones (eps 1e-5 and the
/// context's momentum of 0.1: PyTorch's), over the rows of all of the context's ranks. One whose parameters are frozen
/// is not in training: its statistics stay. Parameters `weight`, `bias`, buffers `running_mean`, `running_var`, all
/// (C).
class BatchNorm2d : public Module {
 public:
  BatchNorm2d(Init& init, int64_t channels);

  /// norm(x)
  Var forward(const Var& x, const Context& context) { return apply(x, {}, context, false); }
  /// relu(norm(x)), fused
  Var forward_relu(const Var& x, const Context& context) { return apply(x, {}, context, true); }
  /// relu(norm(x) + residual), fused
  Var forward_add_relu(const Var& x, const Var& residual, const Context& context) {
    return apply(x, residual, context, true);
  }

 private:
  Var apply(const Var& x, const Var& residual, const Context& context, bool relu);

  Var weight_, bias_;
  Tensor running_mean_, running_var_;
};

/// Group norm of images. Parameters `weight`, `bias` (C).
class GroupNorm : public Module {
 public:
  GroupNorm(Init& init, int64_t channels, int64_t groups, double eps = 1e-5);
  Var forward(const Var& x) const;

 private:
  int64_t groups_;
  double eps_;
  Var weight_, bias_;
};

/// Layer norm of the last axis. Parameters `weight`, `bias` (D); eps is that of vision transformers.
class LayerNorm : public Module {
 public:
  LayerNorm(Init& init, int64_t width, double eps = 1e-6);
  Var forward(const Var& x) const;
  /// x + branch, and its norm, in one pass.
  NormedSum forward_sum(const Var& x, const Var& branch) const;

 private:
  double eps_;
  Var weight_, bias_;
};

}  // namespace sked
