#pragma once
// Reading and writing by index. Every index is checked; an error names the row and the index.

#include "core/kernel.h"

namespace sked::kernel {

/// y[n,d] = table[ids[n], d]: table (V,D), ids (N) i64 in 0 … V−1, y (N,D).
inline Kernel<void(const Tensor& table, const Tensor& ids, Tensor& y)> gather_rows{"gather_rows"};
/// dtable[ids[n], d] += dy[n,d], in order of n, so that repeated ids add up the same way on every run.
inline Kernel<void(const Tensor& dy, const Tensor& ids, Tensor& dtable)> scatter_add_rows{"scatter_add_rows"};

/// y[n,s] = x[n,s, index[n]]: x (N,S,K), index (N) i64 in 0 … K−1, y (N,S).
inline Kernel<void(const Tensor& x, const Tensor& index, Tensor& y)> pick{"pick"};
/// dx = 0 but dx[n,s, index[n]] = dy[n,s].
inline Kernel<void(const Tensor& dy, const Tensor& index, Tensor& dx)> pick_backward{"pick_backward"};

/// y[…,c] = table[x[…,c], c]: bytes as the numbers they stand for. x u8 (…,C), table (256,C), or (256,1) for all
/// channels, f32 or f64, y of x's shape in the table's dtype or, beside f32, in bf16.
inline Kernel<void(const Tensor& x, const Tensor& table, Tensor& y)> look_up{"look_up"};

}  // namespace sked::kernel
