#pragma once
// Optimizers over named parameters, with clipping.

#include <array>
#include <string>
#include <utility>
#include <vector>

#include "autograd/var.h"
#include "core/kernels/optimizer.h"

namespace sked {

enum class OptimizerKind { sgd, adam, adamw };
constexpr std::array<const char*, 3> names_of(OptimizerKind) { return {"sgd", "adam", "adamw"}; }

struct OptimizerConfig {
  OptimizerKind kind = OptimizerKind::sgd;
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
  /// Throws UsageError for a value out of range, Error for a weight that is there twice.
  Optimizer(const OptimizerConfig& config, const std::vector<NamedVar>& parameters);

  /// One step with learning rate `lr`; returns the global gradient norm (1) before clipping, on the parameters' device,
  /// or an undefined tensor where clipping is off.
  Tensor step(double lr);
  void clear_grads();

  /// Momenta (named `<slot>.<parameter>`) and the step count, for checkpoints. load_state throws where names or shapes
  /// differ.
  struct State {
    std::vector<NamedTensor> tensors;
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

}  // namespace sked
