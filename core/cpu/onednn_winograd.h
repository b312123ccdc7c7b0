#pragma once
// Winograd's convolution F(2×2, 3×3) (Lavin and Gray, CVPR 2016, arXiv 1509.09308): for 3×3 filters at stride 1 it
// takes 16 products where the sum written out takes 36, at about twice its rounding error.

#include "core/kernels/conv.h"

namespace sked::cpu {

/// Is this a convolution that winograd_* can do, and channels enough that its products outweigh its transforms?
bool winograd_suits(const ConvSizes& s, const Window& window);

/// The kernels of core/kernels/conv.h for such a convolution; bias (O) and db may be null.
void winograd_forward(const ConvSizes& s, const float* x, const float* w, const float* bias, float* y);
void winograd_backward_input(const ConvSizes& s, const float* dy, const float* w, float* dx);
void winograd_backward_weight(const ConvSizes& s, const float* dy, const float* x, float* dw);

}  // namespace sked::cpu
