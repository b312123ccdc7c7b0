#pragma once
// Convolution of NHWC images; filters OIHW.

#include "autograd/var.h"
#include "core/kernels/conv.h"

namespace sked {

/// x (N,H,W,I), w (O,I/groups,kernel,kernel), b (O) or undefined -> (N,P,Q,O). Beside x in bf16, w and b may be f32
/// masters, and their gradients are then f32. Saves x and w.
Var conv2d(const Var& x, const Var& w, const Var& b, Window window);

}  // namespace sked
