#pragma once
// The matrix product beneath the definitions of matmul, linear and convolution: blocked, packed and vectorized by the
// compiler.

#include <cstdint>

namespace sked::cpu {

/// One operand: element (r, c) is data[r·row + c·col]. Transposing it is swapping the strides.
template <class T>
struct MatrixView {
  const T* data;
  int64_t row, col;

  MatrixView transposed() const { return {data, col, row}; }
};

/// How many products gemm() computes and how far apart their operands lie, in elements.
struct GemmBatch {
  int64_t count = 1, a = 0, b = 0, c = 0;
};

/// c (M,N) = a (M,Q) b (Q,N) [+ c when accumulate], c's rows `ldc` elements apart; T is float or double.
/// The sum over Q is taken in one fixed order, so the result does not depend on the number of threads.
template <class T>
void gemm(int64_t M, int64_t N, int64_t Q, MatrixView<T> a, MatrixView<T> b, T* c, int64_t ldc, bool accumulate,
          GemmBatch batch = {});

}  // namespace sked::cpu
