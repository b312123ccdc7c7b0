#pragma once
// Pooling of NHWC images.

#include "autograd/var.h"
#include "core/kernels/window.h"

namespace sked {

/// Largest of each window, padding as −∞. Saves where it was.
Var max_pool2d(const Var& x, Window window);
/// Mean of each window, padding as zeros. Saves nothing.
Var avg_pool2d(const Var& x, Window window);
/// (N,H,W,C) -> (N,C): mean over all positions.
Var global_avg_pool(const Var& x);

}  // namespace sked
