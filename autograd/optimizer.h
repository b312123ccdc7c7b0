#pragma once
// Optimizers over named parameters, learning-rate schedules, clipping and weight averaging.

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "autograd/var.h"
#include "core/kernels/optimizer.h"

namespace sked {

/// A parameter as optimizers and checkpoints see it.
struct NamedVar {
  std::string name;
  Var var;
};

/// State that is not trained (running statistics): a pointer into the module that owns it.
using NamedBuffer = std::pair<std::string, Tensor*>;

struct OptimizerConfig {
  std::string kind = "sgd";  // sgd | adam | adamw
  double momentum = 0.9;
  bool nesterov = false;
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
  double weight_decay =
      0;  // coupled for sgd and adam, decoupled for adamw; never on norms, biases, embeddings of position or class
  double clip_norm = 0;  // global gradient norm; 0: off
};

/// Does weight decay apply to a parameter? Matrices and filters only: not to vectors and scalars, nor to `pos_embed`,
/// `cls_token`, `reg_token`.
bool decays(const NamedVar& parameter);

/// Steps all parameters at once: those that require a gradient when it is made. One without a gradient counts as
/// gradient zero. Where products read a parameter rounded to bf16 (a GPU's, 2 bytes a parameter: Tensor::keep_rounded),
/// a step writes that copy too.
class Optimizer {
 public:
  /// Throws UsageError for an unknown kind or a value out of range.
  Optimizer(const OptimizerConfig& config, const std::vector<NamedVar>& parameters);

  /// One step with learning rate `lr`; returns the global gradient norm (1) before clipping, on the parameters' device,
  /// or an undefined tensor where clipping is off.
  Tensor step(double lr);
  void clear_grads();

  /// Momenta (named `<slot>.<parameter>`) and the step count, for checkpoints. load_state throws where names or shapes
  /// differ.
  struct State {
    std::vector<std::pair<std::string, Tensor>> tensors;
    int64_t steps = 0;
  };
  State state() const;
  void load_state(const State& state);

 private:
  OptimizerConfig config_;
  std::vector<NamedVar> parameters_;
  std::vector<double> decay_;
  TensorList first_, second_;  // momentum or m; v
  int64_t steps_ = 0;
};

/// lr(step) = peak · warm-up(step) · shape(step): linear warm-up over `warmup` steps, then constant, linear or cosine
/// decay to peak · floor at `total` (SGDR's half period, Loshchilov & Hutter, arXiv 1608.03983).
struct Schedule {
  std::string kind = "cosine";  // constant | linear | cosine
  double peak = 0.1, floor = 0;
  int64_t warmup = 0, total = 1;
  /// Learning rate of step 0 …; from `total` on it stays. warm-up(step) = (step + 1)/warmup, so the first step already
  /// moves. Throws UsageError for an unknown kind or a value out of range.
  double at(int64_t step) const;
};

/// Exponential moving average of weights, average ← decay·average + (1 − decay)·weight, kept beside the parameters that
/// require a gradient when it is made. It starts at the weights; read in their place it keeps its rounded copies as
/// they do. Beside the averages lie buffers of their own: the batch statistics of the last weights are not those of the
/// average, and neither is their average; who swaps estimates them.
class WeightAverage {
 public:
  WeightAverage(double decay, const std::vector<NamedVar>& parameters, const std::vector<NamedBuffer>& buffers = {});
  void update();
  /// Exchanges averages and parameters, and both sides' buffers (before and after an evaluation).
  void swap();
  /// `average.<parameter or buffer>`, for checkpoints. load_state throws where names, shapes or dtypes differ.
  std::vector<std::pair<std::string, Tensor>> state() const;
  void load_state(const std::vector<std::pair<std::string, Tensor>>& tensors);

 private:
  double decay_;
  std::vector<NamedVar> parameters_;
  std::vector<NamedBuffer> buffers_;
  TensorList averages_, kept_;  // of the parameters and of the buffers, in their order
};

}  // namespace sked
