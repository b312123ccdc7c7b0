#pragma once
// Where a network's activations change their dtype: behind its input and before what it gives away.

#include "autograd/elementwise.h"
#include "layers/module.h"

namespace sked {

/// A network's input in f32, as its activations are kept. f64 stays.
inline Var as_activation(const Var& x, const Context& context) {
  return x.dtype() == DType::f32 ? cast(x, context.activations) : x;
}

/// What leaves a network, in f32 where activations are bf16: heads and losses compute in f32.
inline Var as_feature(const Var& x) { return x.dtype() == DType::bf16 ? cast(x, DType::f32) : x; }

}  // namespace sked
