#pragma once
// 2-d pooling of NHWC images.

#include "core/kernel.h"
#include "core/kernels/window.h"

namespace sked {

/// x (N,H,W,C), y (N,P,Q,C).
struct PoolSizes {
  int64_t N, H, W, C, P, Q;
};
inline PoolSizes pool_sizes(const Tensor& x, const Tensor& y) {
  return {x.dim(0), x.dim(1), x.dim(2), x.dim(3), y.dim(1), y.dim(2)};
}

}  // namespace sked

namespace sked::kernel {

/// y[n,p,q,c] = max over the window, padding counting as −∞. which (N,P,Q,C) u8: r·kernel + s of the first maximum, for
/// the backward pass; kernel ≤ 15, padding < kernel.
inline Kernel<void(const Tensor& x, Tensor& y, Tensor& which, Window window)> max_pool2d_forward{"max_pool2d_forward"};
inline Kernel<void(const Tensor& dy, const Tensor& which, Tensor& dx, Window window)> max_pool2d_backward{
    "max_pool2d_backward"};

/// y = mean over the window of kernel², padding counting as zeros (PyTorch's default).
inline Kernel<void(const Tensor& x, Tensor& y, Window window)> avg_pool2d_forward{"avg_pool2d_forward"};
inline Kernel<void(const Tensor& dy, Tensor& dx, Window window)> avg_pool2d_backward{"avg_pool2d_backward"};

}  // namespace sked::kernel
