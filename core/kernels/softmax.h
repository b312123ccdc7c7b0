#pragma once
// The softmax family, stable for any finite logits: the row's maximum is subtracted first. An empty or all −∞ row has
// logsumexp −∞. x is read as (N, K), the last axis being K.

#include "core/kernel.h"
#include "core/kernels/reduce.h"

namespace sked {

/// x (…,K) as N rows of K.
struct RowSizes {
  int64_t N, K;
};
inline RowSizes row_sizes(const Tensor& x) { return {x.shape().product(0, x.ndim() - 1), x.dim(-1)}; }

}  // namespace sked

namespace sked::kernel {

/// y = exp(x − logsumexp x).
inline Kernel<void(const Tensor& x, Tensor& y)> softmax_forward{"softmax_forward"};
/// dx = y (dy − Σ_k dy y).
inline Kernel<void(const Tensor& dy, const Tensor& y, Tensor& dx)> softmax_backward{"softmax_backward"};

/// y = x − logsumexp x.
inline Kernel<void(const Tensor& x, Tensor& y)> log_softmax_forward{"log_softmax_forward"};
/// dx = dy − exp(y) Σ_k dy.
inline Kernel<void(const Tensor& dy, const Tensor& y, Tensor& dx)> log_softmax_backward{"log_softmax_backward"};

/// y[o,j] = log Σ_i exp x[o,i,j], over any axis read as (outer, n, inner).
inline Kernel<void(const Tensor& x, Tensor& y, ReduceView view)> logsumexp_forward{"logsumexp_forward"};
/// dx[o,i,j] = dy[o,j] exp(x[o,i,j] − y[o,j]); 0 where y is −∞.
inline Kernel<void(const Tensor& x, const Tensor& y, const Tensor& dy, Tensor& dx, ReduceView view)> logsumexp_backward{
    "logsumexp_backward"};

/// Softmax cross-entropy of logits x (N,K) against labels (N) i64 in 0 … K−1: loss[n] = lse[n] − x[n, label[n]], with
/// lse (N) = logsumexp saved. Throws naming the row and the label when out of range.
inline Kernel<void(const Tensor& x, const Tensor& labels, Tensor& loss, Tensor& lse)> cross_entropy_forward{
    "cross_entropy_forward"};
/// dx[n,k] = dloss[n] (exp(x[n,k] − lse[n]) − [k = label[n]]).
inline Kernel<void(const Tensor& dloss, const Tensor& x, const Tensor& labels, const Tensor& lse, Tensor& dx)>
    cross_entropy_backward{"cross_entropy_backward"};

}  // namespace sked::kernel
