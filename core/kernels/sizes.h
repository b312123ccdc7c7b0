#pragma once
// The extents of products, convolutions, pooling and attention, read from their operands and checked: every backend
// starts with these. Each throws `[where] …` naming the operand whose shape, dtype or device does not fit.

#include "core/kernels/attention.h"
#include "core/kernels/conv.h"
#include "core/kernels/matmul.h"

namespace sked {

/// batch products c (M,N) = op(a) (M,Q) op(b) (Q,N). A batch of a's that share b and need no transposing is one taller
/// product.
struct MatmulSizes {
  int64_t batch, M, N, Q;
  bool shared_b;
};
MatmulSizes matmul_sizes(const Tensor& a, const Tensor& b, const Tensor& c, bool transpose_a, bool transpose_b);

/// x (N,I), w (O,I), y (N,O), bias (O) or undefined; gradients have the shape of what they belong to.
struct LinearSizes {
  int64_t N, I, O;
};
LinearSizes linear_sizes(const Tensor& x, const Tensor& w, const Tensor& b, const Tensor& y, const char* where);

/// x (N,H,W,I), w (O,I/groups,kernel,kernel), y (N,P,Q,O), bias (O) or undefined.
struct ConvSizes {
  int64_t N, H, W, I, P, Q, O;
};
ConvSizes conv_sizes(const Tensor& x, const Tensor& w, const Tensor& b, const Tensor& y, const Window& window,
                     const char* where);

/// x (N,H,W,C), y (N,P,Q,C), which: y's shape in u8, or undefined; window.kernel ≤ 15 and padding < kernel.
struct PoolSizes {
  int64_t N, H, W, C, P, Q;
};
PoolSizes pool_sizes(const Tensor& x, const Tensor& y, const Tensor& which, const Window& window, const char* where);

/// qkv (N,T,3,H,E), y (N,T,H,E), lse (N,H,T).
struct AttentionSizes {
  int64_t N, T, H, E;
};
AttentionSizes attention_sizes(const Tensor& qkv, const Tensor& y, const Tensor& lse, const char* where);

}  // namespace sked
