#pragma once
// Optimizers over named parameters, with clipping.

#include <array>
#include <string>
#include <utility>
#include <vector>

#include "autograd/var.h"
#include "autograd/weight_average.h"
#include "core/communicator.h"
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
  double clip_norm = 0;            // global gradient norm, over all parameters; 0: off
  double head_lr_scale = 1;        // learning rate of a classifier's head, as a factor; who makes lr_scales applies it
  double layer_decay = 1;          // likewise of each of a backbone's layers, as a factor on that of the one behind it
  double noise_lr_scale = 1;       // learning rate of the heads' covariance layers, as a factor on that of the rest
  double noise_weight_decay = -1;  // weight decay of the covariance layers; -1: weight_decay
  bool shard = false;  // each of several ranks keeps and steps its share of the state (ZeRO stage 1, arXiv 1910.02054)
};

/// Is a parameter one of the covariance layers, those of a GaussianNoise: `head.noise.factors.weight` …? They form a
/// parameter group of their own.
bool of_noise(const NamedVar& parameter);

/// Does weight decay apply to a parameter? Matrices and filters only: not to vectors and scalars, nor to `pos_embed`,
/// `cls_token`, `reg_token`.
bool decays(const NamedVar& parameter);

/// Steps all parameters at once: those that require a gradient when it is made. One without a gradient counts as
/// gradient zero. Where products read a parameter rounded to bf16 (a GPU's, 2 bytes a parameter: Tensor::keep_rounded),
/// a step writes that copy too.
class Optimizer {
 public:
  /// `lr_scales`: what the learning rate of each parameter is multiplied by, beside noise_lr_scale; empty: 1. Throws
  /// UsageError for a value out of range, Error for a weight that is there twice. `ranks`, which is to live as long,
  /// train the same parameters, but for those that are divided (NamedVar::shard).
  Optimizer(const OptimizerConfig& config, const std::vector<NamedVar>& parameters,
            const std::vector<double>& lr_scales = {}, Communicator& ranks = alone());

  /// One step with learning rate `lr`, which all ranks make; returns the global gradient norm (1) before clipping, on
  /// the parameters' device, or an undefined tensor where clipping is off. Gradients are the same on every rank, but
  /// for those of divided parameters. `average`, of these parameters (otherwise Error), is updated: in the same pass
  /// over memory, or with `shard` behind it.
  Tensor step(double lr, WeightAverage* average = nullptr);
  void clear_grads();

  /// Momenta (named `<slot>.<parameter>`), this rank's share of those that are divided, and the step count, for
  /// checkpoints. load_state takes whole ones, too; throws where names or shapes differ.
  struct State {
    std::vector<SharedTensor> tensors;
    int64_t steps = 0;
  };
  State state() const;
  void load_state(const State& state);

 private:
  OptimizerConfig config_;
  /// Parameters of one learning rate.
  struct Group {
    double lr_scale;
    std::vector<size_t> parameters;
  };
  /// What all groups' steps are made with; averages: none, or one for each parameter.
  struct Inputs {
    TensorList gradients, averages;
    Tensor scale;
    double ema_decay = 0;
  };
  void step_group(const std::vector<size_t>& group, const Inputs& inputs, double lr);
  Tensor norm_of(const TensorList& gradients) const;
  bool steps_shares() const { return config_.shard && ranks_.size() > 1; }
  bool steps_share_of(size_t i) const { return steps_shares() && !parameters_[i].shard.divided(); }
  Tensor share_of(size_t i, const Tensor& t) const;
  void gather_parameters();

  Communicator& ranks_;
  std::vector<NamedVar> parameters_;
  std::vector<double> decay_;
  TensorList first_, second_;  // momentum or m; v
  std::vector<Group> groups_;
  int64_t steps_ = 0;
};

}  // namespace sked
