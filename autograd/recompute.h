#pragma once
// Memory for a block's intermediates traded for a second forward pass.

#include <functional>
#include <vector>

#include "autograd/var.h"

namespace sked {

/// Gradient checkpointing (Chen et al., arXiv 1604.06174): y = f(inputs) without a tape; the backward pass calls f
/// again with one. f must be a pure function of its inputs and of parameters it captures (their gradients accumulate as
/// usual).
Var recompute(const std::function<Var(const std::vector<Var>&)>& f, const std::vector<Var>& inputs);

/// Is the current call of f a recomputation? Layers with running statistics update them only the first time.
bool recomputing();

}  // namespace sked
