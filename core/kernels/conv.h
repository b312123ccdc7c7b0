#pragma once
// 2-d convolution (cross-correlation) and pooling. Images are NHWC; filters are OIHW, as public checkpoints store them.

#include "core/kernel.h"

namespace sked {

/// The window of a convolution or pooling, square in both directions.
struct Window {
  int64_t kernel = 1, stride = 1, padding = 0;
  int64_t groups = 1;  // convolution only
  /// Output extent for an input extent: floor((in + 2 padding − kernel) / stride) + 1; throws where it would be < 1.
  int64_t output(int64_t input) const;
};

}  // namespace sked

namespace sked::kernel {

/// y[n,p,q,o] = b[o] + Σ_{i,r,s} x[n, p·stride + r − padding, q·stride + s − padding, i] w[o,i,r,s], zero outside.
/// x (N,H,W,I), w (O, I/groups, kernel, kernel), b (O) or undefined, y (N,P,Q,O). f32, f64.
inline Kernel<void(const Tensor& x, const Tensor& w, const Tensor& b, Tensor& y, Window window)> conv2d_forward{
    "conv2d_forward"};

/// dx (N,H,W,I) from dy (N,P,Q,O): the transposed convolution.
inline Kernel<void(const Tensor& dy, const Tensor& w, Tensor& dx, Window window)> conv2d_backward_input{
    "conv2d_backward_input"};

/// dw (O, I/groups, kernel, kernel) from dy and x; db (O) = Σ dy, skipped where undefined.
inline Kernel<void(const Tensor& dy, const Tensor& x, Tensor& dw, Tensor& db, Window window)> conv2d_backward_weight{
    "conv2d_backward_weight"};

/// y[n,p,q,c] = max over the window, padding counting as −∞. which (N,P,Q,C) u8: r·kernel + s of the first maximum, for
/// the backward pass; kernel ≤ 15, padding < kernel.
inline Kernel<void(const Tensor& x, Tensor& y, Tensor& which, Window window)> max_pool2d_forward{"max_pool2d_forward"};
inline Kernel<void(const Tensor& dy, const Tensor& which, Tensor& dx, Window window)> max_pool2d_backward{
    "max_pool2d_backward"};

/// y = mean over the window of kernel², padding counting as zeros (PyTorch's default).
inline Kernel<void(const Tensor& x, Tensor& y, Window window)> avg_pool2d_forward{"avg_pool2d_forward"};
inline Kernel<void(const Tensor& dy, Tensor& dx, Window window)> avg_pool2d_backward{"avg_pool2d_backward"};

}  // namespace sked::kernel
