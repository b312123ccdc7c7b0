#pragma once
// Reading by index.

#include "autograd/var.h"

namespace sked {

/// y (…,D) = table[ids], table (V,D), ids (…) i64. dtable adds up rows of dy. Saves ids.
Var embedding(const Var& table, const Tensor& ids);
/// y (N,S) = x[n,s,index[n]] of x (N,S,K), or y (N) of x (N,K); index (N) i64. Saves index.
Var pick(const Var& x, const Tensor& index);

}  // namespace sked
