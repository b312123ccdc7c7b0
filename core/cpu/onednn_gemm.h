#pragma once
// oneDNN's sgemm with the operands of core/cpu/gemm.h. Inside a parallel region it runs on the calling thread.

#include "core/cpu/gemm.h"

namespace sked::cpu::onednn {

/// c (M,N) = alpha a (M,Q) b (Q,N) [+ c when accumulate]; one stride of each operand is 1.
void sgemm(int64_t M, int64_t N, int64_t Q, float alpha, MatrixView<float> a, MatrixView<float> b, float* c,
           int64_t ldc, bool accumulate);

}  // namespace sked::cpu::onednn
