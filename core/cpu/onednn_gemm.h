#pragma once
// oneDNN's products with the operands of core/cpu/gemm.h. Inside a parallel region they run on the calling thread.

#include "core/cpu/gemm.h"

namespace sked::cpu::onednn {

/// c (M,N) = alpha a (M,Q) b (Q,N) [+ c when accumulate]; one stride of each operand is 1.
void sgemm(int64_t M, int64_t N, int64_t Q, float alpha, MatrixView<float> a, MatrixView<float> b, float* c,
           int64_t ldc, bool accumulate);

/// c (M,N) = a (M,Q) b (Q,N) [+ c when accumulate], all dense, a and b perhaps transposed: taken as they lie, since
/// small products repay no rearranging of their factors. T: float, or bf16 where has_bf16_instructions().
template <class T>
void multiply_small(int64_t M, int64_t N, int64_t Q, MatrixView<T> a, MatrixView<T> b, float* c, bool accumulate);

}  // namespace sked::cpu::onednn
