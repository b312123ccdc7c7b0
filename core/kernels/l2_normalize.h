#pragma once
// Rows brought to length 1.

#include "core/kernel.h"

namespace sked {
/// eps of l2_normalize unless it is told otherwise: below the rounding of f32 for rows longer than 4e-3.
inline constexpr double kLengthEps = 1e-12;
}  // namespace sked

namespace sked::kernel {

/// Rows brought to length 1: y = x r, r[n] = 1/sqrt(Σ_d x[n,d]² + eps), saved. x, y (N,D), r (N); y may be x. eps keeps
/// a row of zeros at zero, with the derivative 1/sqrt(eps) there; rows much longer than sqrt(eps) do not feel it.
inline Kernel<void(const Tensor& x, Tensor& y, Tensor& r, double eps)> l2_normalize_forward{"l2_normalize_forward"};

/// dx = r (dy − y Σ_d dy y): the part of dy along the row is lost. dx may be dy.
inline Kernel<void(const Tensor& dy, const Tensor& y, const Tensor& r, Tensor& dx)> l2_normalize_backward{
    "l2_normalize_backward"};

}  // namespace sked::kernel
