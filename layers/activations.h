#pragma once
// Where a network's activations change their dtype: behind its input and before what it gives away.

#include "autograd/elementwise.h"
#include "core/precision.h"

namespace sked {

/// An input or a parameter added to activations, in f32, as the activations are kept: activation_dtype(). f64 stays.
inline Var as_activation(const Var& x) { return x.dtype() == DType::f32 ? cast(x, activation_dtype()) : x; }

/// What leaves a network, in f32 where activations are bf16: heads and losses compute in f32.
inline Var as_feature(const Var& x) { return x.dtype() == DType::bf16 ? cast(x, DType::f32) : x; }

}  // namespace sked
