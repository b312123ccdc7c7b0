#pragma once
// Batch norm; formulas in core/kernels/batch_norm.h.

#include "autograd/var.h"
#include "core/communicator.h"

namespace sked {

struct BatchNormOptions {
  double momentum = 0.1, eps = 1e-5;
  bool training = true;  // batch statistics, and update the running ones (once, also under recompute)
  bool relu = false;     // ReLU behind it
  /// Training looks at the rows of all of these ranks, each of which calls this with its own, one or more; the result
  /// is that of one rank with all rows, dγ and dβ being this rank's part of sums over ranks. The backward pass meets
  /// the others too: the loss must be this rank's part of a sum over ranks. Null: these rows are all.
  Communicator* ranks = nullptr;
};

/// x (…,C). residual (x's shape) or undefined is added before the ReLU. running_* (C) are updated in training. Saves x,
/// and y under ReLU. Outside training the running statistics are constants: dx = γ rstd g, and γ, β still get
/// gradients.
Var batch_norm(const Var& x, const Var& residual, const Var& gamma, const Var& beta, Tensor& running_mean,
               Tensor& running_var, const BatchNormOptions& options);

}  // namespace sked
