#pragma once
// Products of bf16 factors with f32 sums, on processors that have instructions for them (AVX512_BF16, AMX).

#include <cstdint>

#include "core/tensor.h"

namespace sked::cpu::onednn {

/// Has this processor such instructions? Kernels then take tensors that are stored in bf16 as they are. (oneDNN
/// computes in bf16 with AVX-512 alone too, by shifts and f32 arithmetic: slower than f32, so that does not count.)
bool has_bf16_instructions();

/// Is that what products and convolutions of f32 tensors are to be computed in (core/precision.h), and can this
/// processor do it?
bool bf16_products();

/// A factor of a product: contiguous, or its transpose is. f32 is rounded to bf16 first.
struct Factor {
  const void* data;
  DType dtype;
  bool transposed;
  const Tensor* tensor = nullptr;  // that may keep it as products want it, where it is one
};

/// What a product becomes: contiguous, f32 or bf16. The bias (N), f32 or bf16, may be null.
struct Product {
  void* data;
  DType dtype;
  bool accumulate = false;
  const void* bias = nullptr;
  DType bias_dtype = DType::f32;
};

/// c (M,N) = a (M,Q) b (Q,N) [+ bias] [+ c when accumulate]; none of the sizes 0. Only where has_bf16_instructions().
void multiply_bf16(int64_t M, int64_t N, int64_t Q, const Factor& a, const Factor& b, const Product& c);

}  // namespace sked::cpu::onednn
