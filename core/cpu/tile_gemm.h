#pragma once
// f32 matrix products on the bf16 tile unit (Intel AMX) of recent x86 processors, several times as fast as its f32 units.
//
// An f32 number has 24 significant bits and a bf16 number 8, so x = x₁ + x₂ + x₃ exactly, each part the rounding of what the ones before
// leave. Of the nine products of parts the unit computes six, accumulating in f32; the three left out are below 2^-26 of x y, less
// than the rounding of an f32 product. (Henry, Tang & Heinecke, "Leveraging the bfloat16 artificial intelligence datatype for
// higher-precision computations", ARITH 2019, arXiv 1904.06376: three parts, six products.)
// What differs from f32 arithmetic: an infinite element gives NaN, and parts below 2^-126 count as zero.

#include "core/cpu/gemm.h"

namespace sked::cpu {

/// Has this machine the unit, and may this process use it?
bool has_tiles();

/// c (M,N) = a (M,Q) b (Q,N) [+ c when accumulate], as gemm() does it; only where has_tiles(). One stride of each operand is 1.
/// The result does not depend on the number of threads.
void tile_gemm(int64_t M, int64_t N, int64_t Q, MatrixView<float> a, MatrixView<float> b, float* c, int64_t ldc,
               bool accumulate);

}  // namespace sked::cpu
