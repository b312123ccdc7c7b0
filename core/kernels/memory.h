#pragma once
// Filling, converting and rearranging elements.

#include <vector>

#include "core/kernel.h"

namespace sked::kernel {

/// y[i] = value, any dtype.
inline Kernel<void(Tensor& y, double value)> fill{"fill"};

/// y[i] = i, in row-major order. i64.
inline Kernel<void(Tensor& y)> arange{"arange"};

/// y[i] = x[i] converted to y's dtype (round to nearest even to bf16; towards zero to integers). Same shape and device.
inline Kernel<void(const Tensor& x, Tensor& y)> cast{"cast"};

/// y[i] += alpha x[i]. f32, f64. Same shape.
inline Kernel<void(const Tensor& x, Tensor& y, double alpha)> add_scaled{"add_scaled"};

/// y's axis i is x's axis perm[i]: y (x.dim(perm[0]), x.dim(perm[1]), …). Any dtype.
inline Kernel<void(const Tensor& x, Tensor& y, const std::vector<int>& perm)> permute{"permute"};

/// y = x restricted to [start, start + y.dim(axis)) along `axis`. Any dtype.
inline Kernel<void(const Tensor& x, Tensor& y, int axis, int64_t start)> slice{"slice"};

/// y restricted to [start, start + x.dim(axis)) along `axis` = x; the rest of y stays. The adjoint of slice, and
/// concat.
inline Kernel<void(const Tensor& x, Tensor& y, int axis, int64_t start)> slice_insert{"slice_insert"};

/// y = x broadcast to y's shape (NumPy's rule). f32, f64.
inline Kernel<void(const Tensor& x, Tensor& y)> broadcast_to{"broadcast_to"};

}  // namespace sked::kernel
