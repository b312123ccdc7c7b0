#pragma once
// Reductions over one run of axes: x is read as (outer, n, inner), y as (outer, inner).

#include "core/kernel.h"

namespace sked {
enum class Reduce { sum, mean, max };
const char* name(Reduce op);

/// How a reduction reads its input: element (o, i, j) is x[(o n + i) inner + j].
struct ReduceView {
  int64_t outer, n, inner;
};
/// Throws unless x holds `view` and y its (outer, inner).
void require_view(const Tensor& x, const Tensor& y, ReduceView view, const char* where);
}  // namespace sked

namespace sked::kernel {

/// y[o,j] = sum | mean | max over i of x[o,i,j]. f32 (accumulated in f32 pairwise or in f64), f64. The sum of nothing
/// is 0; the mean or max of nothing is an error.
inline Kernel<void(const Tensor& x, Tensor& y, Reduce op, ReduceView view)> reduce_forward{"reduce_forward"};

/// dx[o,i,j] = dy[o,j] [x[o,i,j] = y[o,j]] / (number of ties): the gradient of max, shared between ties.
inline Kernel<void(const Tensor& x, const Tensor& y, const Tensor& dy, Tensor& dx, ReduceView view)>
    reduce_max_backward{"reduce_max_backward"};

/// index[o,j] (i64) = the first i with the largest x[o,i,j]. NaN counts as largest.
inline Kernel<void(const Tensor& x, Tensor& index, ReduceView view)> argmax{"argmax"};

/// The k largest of each row, largest first, of equals the first one first: values (N,k), index (N,k) i64, x (N,K) with
/// 1 ≤ k ≤ K. NaN counts as largest.
inline Kernel<void(const Tensor& x, Tensor& values, Tensor& index)> top_k{"top_k"};

}  // namespace sked::kernel
