#pragma once
// Optimizer steps over all parameters at once. Lists run in parallel: parameters[i], gradients[i], … have one shape.
// grad_scale is a one-element tensor (a clip factor) or undefined for 1. rounded[i], where the list is not empty and
// the tensor defined, is what parameters[i], f32, becomes in bf16: written beside it, to the nearest with ties to even.
// averages[i], where that list is not empty, follows what parameters[i] becomes as ema_step with step.ema_decay would
// have it behind the step, bit for bit.

#include <vector>

#include "core/kernel.h"

namespace sked {

/// Stochastic gradient descent (PyTorch's convention): g ← scale·grad + decay·p; m ← momentum·m + g (m = g on the first
/// step); p ← p − lr·(nesterov ? g + momentum·m : m).
struct SgdStep {
  double lr, momentum;
  bool nesterov, first;
  double ema_decay = 0;
};

/// Adam (Kingma & Ba, arXiv 1412.6980): g = scale·grad [+ decay·p unless decoupled]; m ← β1 m + (1−β1) g;
/// v ← β2 v + (1−β2) g²; p ← p − lr·m̂/(sqrt(v̂) + eps), with m̂ = m/(1−β1^t), v̂ = v/(1−β2^t), t = `step` from 1.
/// Decoupled (AdamW, Loshchilov & Hutter, arXiv 1711.05101): first p ← p − lr·decay·p.
struct AdamStep {
  double lr, beta1, beta2, eps;
  bool decoupled;
  int64_t step;
  double ema_decay = 0;
};

}  // namespace sked

namespace sked::kernel {

/// decay[i]: the weight decay of parameters[i]. momentum may be empty when step.momentum is 0.
inline Kernel<void(TensorList& parameters, const TensorList& gradients, TensorList& momentum, TensorList& rounded,
                   TensorList& averages, const std::vector<double>& decay, const Tensor& grad_scale, SgdStep step)>
    sgd_step{"sgd_step"};

inline Kernel<void(TensorList& parameters, const TensorList& gradients, TensorList& m, TensorList& v,
                   TensorList& rounded, TensorList& averages, const std::vector<double>& decay,
                   const Tensor& grad_scale, AdamStep step)>
    adam_step{"adam_step"};

/// norm (1) = sqrt(Σ over all tensors and elements of x²), accumulated in f64 in a fixed order.
inline Kernel<void(const TensorList& tensors, Tensor& norm)> global_norm{"global_norm"};

/// averages[i] ← averages[i] + (1 − decay)·(values[i] − averages[i]), exponential moving averages: in this form what
/// does not change stays as it is, bit for bit.
inline Kernel<void(TensorList& averages, const TensorList& values, double decay)> ema_step{"ema_step"};

}  // namespace sked::kernel
