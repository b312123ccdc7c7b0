#pragma once
// The extents kernels work on, read from their operands and checked: every backend starts with these. Each throws
// `[where] …` naming the operand whose shape, dtype or device does not fit.

#include <initializer_list>
#include <vector>

#include "core/kernels/attention.h"
#include "core/kernels/conv.h"
#include "core/kernels/matmul.h"
#include "core/kernels/random.h"
#include "core/kernels/reduce.h"

namespace sked {

/// batch products c (M,N) = op(a) (M,Q) op(b) (Q,N). A batch of a's that share b and need no transposing is one taller
/// product.
struct MatmulSizes {
  int64_t batch, M, N, Q;
  bool shared_b;
};
MatmulSizes matmul_sizes(const Tensor& a, const Tensor& b, const Tensor& c, bool transpose_a, bool transpose_b);

/// x (N,I), w (O,I), y (N,O), bias (O) or undefined; gradients have the shape of what they belong to. w and bias are in
/// x's dtype or, beside bf16, in f32.
struct LinearSizes {
  int64_t N, I, O;
};
LinearSizes linear_sizes(const Tensor& x, const Tensor& w, const Tensor& b, const Tensor& y, const char* where);

/// dy (N,O), w (O,I), pre and dx (N,I) alike, db (I) or undefined.
LinearSizes activation_sizes(const Tensor& dy, const Tensor& w, const Tensor& pre, const Tensor& dx, const Tensor& db,
                             const char* where);

/// x (N,H,W,I), w (O,I/groups,kernel,kernel), y (N,P,Q,O), bias (O) or undefined. w and bias are in x's dtype or,
/// beside bf16, in f32.
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

/// M ≥ 0 rows of C channels. Undefined tensors pass.
struct BatchNormSizes {
  int64_t M, C;
  BatchNormSizes(const Tensor& x, std::initializer_list<const Tensor*> like_x,
                 std::initializer_list<const Tensor*> per_channel, const char* where);
};

/// N rows of width D ≥ 1; gamma and other (D) may be undefined.
struct LayerNormSizes {
  int64_t N, D;
  LayerNormSizes(const Tensor& x, const Tensor& like_x, const Tensor& gamma, const Tensor& other, const Tensor& mean,
                 const Tensor& rstd, const char* where);
};
/// The same of all that layer norm's backward pass is given.
LayerNormSizes layer_norm_backward_sizes(const Tensor& dy, const Tensor& x, const Tensor& gamma, const Tensor& mean,
                                         const Tensor& rstd, const Tensor& residual, const Tensor& dx,
                                         const Tensor& dgamma, const Tensor& dbeta, const char* where);

/// x and y (N,D) with D ≥ 1, r (N).
struct L2NormalizeSizes {
  int64_t N, D;
};
L2NormalizeSizes l2_normalize_sizes(const Tensor& x, const Tensor& y, const Tensor& r, const char* where);

/// N images of P positions and C channels in groups of `width` channels.
struct GroupNormSizes {
  int64_t N, P, C, groups, width;
  GroupNormSizes(const Tensor& x, std::initializer_list<const Tensor*> like_x,
                 std::initializer_list<const Tensor*> per_channel, std::initializer_list<const Tensor*> per_group,
                 int64_t groups, const char* where);
};

/// x read as N rows of K, its last axis; `others` are alike.
struct RowSizes {
  int64_t N, K;
  RowSizes(const Tensor& x, std::initializer_list<const Tensor*> others, const char* where);
};

/// x (N,K), labels (N) i64, per_row (N). The labels' values are the backend's to check.
RowSizes cross_entropy_sizes(const Tensor& x, const Tensor& labels, std::initializer_list<const Tensor*> per_row,
                             const char* where);

/// x holds `view`, y its (outer, inner).
void check_view(const Tensor& x, const Tensor& y, ReduceView view, const char* where);

/// y is x with its axes permuted.
void check_permute(const Tensor& x, const Tensor& y, const std::vector<int>& perm);

/// `part` is `whole` with [start, start + part.dim(axis)) of one axis; returns that axis counted from the front.
int check_slice(const Tensor& whole, const Tensor& part, int axis, int64_t start, const char* where);

/// table (V,D), rows (N,D), ids (N) i64.
void check_rows(const Tensor& table, const Tensor& ids, const Tensor& rows, const char* where);

/// x (N,S,K), index (N) i64, picked (N,S).
void check_pick(const Tensor& x, const Tensor& index, const Tensor& picked, const char* where);

/// x u8 (…,C), table (256,C) or (256,1), y alike or, beside an f32 table, in bf16; returns the table's columns.
int64_t check_look_up(const Tensor& x, const Tensor& table, const Tensor& y);

/// One tensor of `other` for each parameter, alike and of its shape.
void check_parallel(const TensorList& parameters, const TensorList& other, const char* where, const char* what);

/// Nothing, or for each parameter a bf16 tensor of its shape beside its f32, or an undefined one.
void check_rounded(const TensorList& parameters, const TensorList& rounded, const char* where);

/// a and b broadcast to y.
void check_binary(const Tensor& a, const Tensor& b, const Tensor& y, const char* where);

/// noise (B,S,J) and examples (B) i64; samples and blocks of coordinates fit 32 bits; the origin is where it may be.
void check_noise(const Tensor& examples, const Tensor& noise, const NoiseOrigin& origin);

}  // namespace sked
