#pragma once
// Products of bf16 factors with f32 sums, on processors that have instructions for them (AVX512_BF16, AMX).

#include "core/cpu/gemm.h"

namespace sked::cpu::onednn {

/// Has this processor such instructions? Kernels then take tensors that are stored in bf16 as they are. (oneDNN computes in
/// bf16 with AVX-512 alone too, by shifts and f32 arithmetic: slower than f32, so that does not count.)
bool has_bf16_instructions();

/// Is that what products and convolutions are to be computed in (core/precision.h), and can this processor do it?
bool bf16_products();

/// c (M,N) = a (M,Q) b (Q,N) [+ c when accumulate], a and b rounded to bf16 first; each of them contiguous, in either
/// order; c contiguous. Call only where bf16_products().
void multiply_bf16(int64_t M, int64_t N, int64_t Q, MatrixView<float> a, MatrixView<float> b, float* c,
                   bool accumulate);

}  // namespace sked::cpu::onednn
