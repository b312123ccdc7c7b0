#pragma once
// What several families' preconditions share.

#include "core/tensor.h"

namespace sked {

/// Throws unless b is undefined or (O), in x's dtype or, beside bf16, in f32.
inline void require_bias(const Tensor& b, int64_t O, const Tensor& x, const char* where) {
  if (!b.defined()) return;
  require_shape(b, {O}, where, "bias");
  require_master(x, b, where);
}

/// Throws unless indices are (N) i64, where x is.
inline void require_indices(const Tensor& indices, int64_t N, const Tensor& x, const char* where, const char* what) {
  require_shape(indices, {N}, where, what);
  require(indices.dtype() == DType::i64 && indices.device() == x.device(), where, "expected ", what, " in i64 on ",
          x.device(), ", got ", indices);
}

}  // namespace sked
