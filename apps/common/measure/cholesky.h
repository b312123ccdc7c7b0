#pragma once
// Symmetric positive definite systems in double. Matrices (D,D) are row by row; only their lower triangle counts.

#include <cstdint>
#include <optional>
#include <vector>

#include "core/tensor.h"

namespace sked {

/// A += XᵀX, x f64 (N,D).
void add_gram(const Tensor& x, std::vector<double>& a);

/// A = LLᵀ in place. Where a pivot is not above `tolerance` times its diagonal element (of what the matrix says about a
/// coordinate no more than that is left by those before it) that pivot is returned, and A is of no use.
std::optional<double> cholesky(std::vector<double>& a, int64_t d, double tolerance = 0);

/// x ← L⁻¹ x, x (D).
void solve_lower(const std::vector<double>& l, std::vector<double>& x);
/// x ← L⁻ᵀ x, x (D).
void solve_upper(const std::vector<double>& l, std::vector<double>& x);

}  // namespace sked
