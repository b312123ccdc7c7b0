#pragma once
// Matrix products: the arithmetic that libraries carry (oneDNN, cuBLASLt).

#include "core/kernel.h"
#include "core/kernels/elementwise.h"

namespace sked {

/// batch products c (M,N) = op(a) (M,Q) op(b) (Q,N). A batch of a's that share b and need no transposing is one taller
/// product.
struct MatmulSizes {
  int64_t batch, M, N, Q;
  bool shared_b;
};
MatmulSizes matmul_sizes(const Tensor& a, const Tensor& b, const Tensor& c, bool transpose_a);

/// x (N,I), w (O,I); y (N,O).
struct LinearSizes {
  int64_t N, I, O;
};
inline LinearSizes linear_sizes(const Tensor& x, const Tensor& w) { return {x.dim(0), x.dim(1), w.dim(0)}; }

/// Where linear_forward's product goes: to `pre` where that is wanted, else to y.
inline Tensor& product_target(Tensor& y, Tensor& pre, Activation act) {
  return act == Activation::none || !pre.defined() ? y : pre;
}

}  // namespace sked

namespace sked::kernel {

/// c = op(a) op(b) [+ c when accumulate], op transposing the last two axes when asked.
/// a (…, M, Q) or (…, Q, M) transposed, b (…, Q, N) or (…, N, Q) transposed, c (…, M, N). Leading axes: equal in all
/// three, or absent in b, which is then shared by the batch. f32, f64; a and b in bf16 with c in bf16 or f32. 2 M N Q
/// operations a matrix.
inline Kernel<void(const Tensor& a, const Tensor& b, Tensor& c, bool transpose_a, bool transpose_b, bool accumulate)>
    matmul{"matmul"};

/// y (N,O) = act(x (N,I) wᵀ + b), w (O,I), b (O) or undefined; both may be f32 beside x in bf16.
/// With an activation and a defined `pre` (N,O), x wᵀ + b is stored there for the backward pass.
inline Kernel<void(const Tensor& x, const Tensor& w, const Tensor& b, Tensor& y, Tensor& pre, Activation act)>
    linear_forward{"linear_forward"};

/// dx (N,I) = dy (N,O) w (O,I).
inline Kernel<void(const Tensor& dy, const Tensor& w, Tensor& dx)> linear_backward_input{"linear_backward_input"};

/// Back through the layer and the activation it followed: dx (N,I) = (dy w) ⊙ act'(pre), where the layer's input was
/// act(pre), pre (N,I); db (I) = Σ_n dx[n], skipped where undefined. For ReLU pre may be act(pre).
inline Kernel<void(const Tensor& dy, const Tensor& w, const Tensor& pre, Tensor& dx, Tensor& db, Activation act)>
    linear_backward_activation{"linear_backward_activation"};

/// dw (O,I) = dyᵀ x; db (O) = Σ_n dy[n], skipped where db is undefined.
inline Kernel<void(const Tensor& dy, const Tensor& x, Tensor& dw, Tensor& db)> linear_backward_weight{
    "linear_backward_weight"};

}  // namespace sked::kernel
