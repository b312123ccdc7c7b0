#pragma once
// Normalization layers' arithmetic; formulas in core/kernels/norm.h.

#include "autograd/var.h"
#include "core/kernels/norm.h"

namespace sked {

struct BatchNormOptions {
  double momentum = 0.1, eps = 1e-5;
  bool training = true;  // batch statistics, and update the running ones (once, also under recompute)
  bool relu = false;     // ReLU behind it
};

/// x (…,C). residual (x's shape) or undefined is added before the ReLU. running_* (C) are updated in training. Saves x,
/// and y under ReLU. Outside training the running statistics are constants: dx = γ rstd g, and γ, β still get
/// gradients.
Var batch_norm(const Var& x, const Var& residual, const Var& gamma, const Var& beta, Tensor& running_mean,
               Tensor& running_var, const BatchNormOptions& options);

/// Each row of the last axis: x (…,D), γ, β (D) or both undefined. Saves x, mean and rstd.
Var layer_norm(const Var& x, const Var& gamma, const Var& beta, double eps = 1e-6);

/// x (N,H,W,C) or (N,P,C), γ, β (C); `groups` divides C. Saves x, mean and rstd.
Var group_norm(const Var& x, const Var& gamma, const Var& beta, int64_t groups, double eps = 1e-5);

/// Each row of the last axis brought to length 1: x (…,D) / sqrt(Σ_d x² + eps). A row of zeros stays zero, and its
/// gradient, dy / sqrt(eps), finite. Saves y and each row's factor.
Var l2_normalize(const Var& x, double eps = kLengthEps);

}  // namespace sked
