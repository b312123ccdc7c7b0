#pragma once
// Winograd's convolutions F(4×4, 3×3) and F(2×2, 3×3) (Lavin and Gray, CVPR 2016, arXiv 1509.09308): for 3×3 filters at
// stride 1 they take 36 products where the sums written out take 144, or 16 where these take 36. Rounding errors: those
// of core/cpu/winograd.h.

#include "core/kernels/conv.h"

namespace sked::cpu {

/// Is this a convolution that winograd_* can do, and channels enough that its products outweigh its transforms? `kept`:
/// the filters' storage keeps what is prepared.
bool winograd_suits(const ConvSizes& s, const Window& window, DType dtype, bool kept = false);

/// The kernels of core/kernels/conv.h for such a convolution; bias (O) may be null. T: float, or bf16 where the
/// processor multiplies it; tiles and filters are then rounded to it once they are transformed, and sums are f32.
template <class T>
void winograd_forward(const ConvSizes& s, const T* x, const Tensor& w, const float* bias, T* y);
template <class T>
void winograd_backward_input(const ConvSizes& s, const T* dy, const float* w, T* dx);
template <class T>
void winograd_backward_weight(const ConvSizes& s, const T* dy, const T* x, float* dw);

}  // namespace sked::cpu
