#pragma once
// 2-d convolution (cross-correlation). Images are NHWC; filters are OIHW, as public checkpoints store them.

#include "core/kernel.h"
#include "core/kernels/window.h"

namespace sked {

/// x (N,H,W,I), w (O,I/groups,kernel,kernel), y (N,P,Q,O).
struct ConvSizes {
  int64_t N, H, W, I, P, Q, O;
};
inline ConvSizes conv_sizes(const Tensor& x, const Tensor& y) {
  return {x.dim(0), x.dim(1), x.dim(2), x.dim(3), y.dim(1), y.dim(2), y.dim(3)};
}

}  // namespace sked

namespace sked::kernel {

/// y[n,p,q,o] = b[o] + Σ_{i,r,s} x[n, p·stride + r − padding, q·stride + s − padding, i] w[o,i,r,s], zero outside.
/// x (N,H,W,I), w (O, I/groups, kernel, kernel), b (O) or undefined, y (N,P,Q,O). f32, f64; beside
/// bf16, w and b may be f32.
inline Kernel<void(const Tensor& x, const Tensor& w, const Tensor& b, Tensor& y, Window window)> conv2d_forward{
    "conv2d_forward"};

/// dx (N,H,W,I) from dy (N,P,Q,O): the transposed convolution.
inline Kernel<void(const Tensor& dy, const Tensor& w, Tensor& dx, Window window)> conv2d_backward_input{
    "conv2d_backward_input"};

/// dw (O, I/groups, kernel, kernel) from dy and x; db (O) = Σ dy, skipped where undefined.
inline Kernel<void(const Tensor& dy, const Tensor& x, Tensor& dw, Tensor& db, Window window)> conv2d_backward_weight{
    "conv2d_backward_weight"};

}  // namespace sked::kernel
