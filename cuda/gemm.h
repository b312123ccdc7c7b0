#pragma once
// Matrix products beneath matmul, linear layers and convolutions: a kernel that shows how it is done (gemm.cu), and
// cuBLASLt, which does it at the card's rate (cublaslt.cpp).

#include <cstdint>
#include <vector>

#include "core/candidates.h"
#include "core/dtype.h"
#include "core/kernels/elementwise.h"

namespace sked::cuda {

/// c (M,N) = op(a) (M,Q) op(b) (Q,N), row-major; ld: elements from one stored row to the next. `batch` products lie
/// stride_a, stride_b, stride_c elements apart; 0 shares an operand.
struct Gemm {
  int64_t M, N, Q;
  const void* a;
  int64_t lda;
  bool transpose_a;
  const void* b;
  int64_t ldb;
  bool transpose_b;
  void* c;
  int64_t ldc;
  bool accumulate = false;
  int64_t batch = 1, stride_a = 0, stride_b = 0, stride_c = 0;
  DType in = DType::f32, out = DType::f32;  // of a and b; of c: f32 f32, bf16 bf16 or bf16 f32
  // What is done with the result on the way out; cuBLASLt only.
  const void* bias = nullptr;         // (N), in `out`: added to each row
  Activation act = Activation::none;  // ReLU or tanh-GELU, behind the bias
  void* pre = nullptr;                // of a GELU: (M,N), what it was taken of
  void* sum_of_a = nullptr;           // (M), in `out`: Σ over Q of op(a), the bias's gradient
  const void* through = nullptr;      // (M,N), another product's `pre`: c is multiplied by GELU' of it
  void* sum_of_c = nullptr;           // (N), with through: Σ over M of c, that product's bias's gradient
};

/// By the readable kernel: 2 M N Q operations in f32 at some 10 % of the card's rate.
void gemm_definition(const Gemm& g, const char* where);

/// By cuBLASLt; false where it offers nothing for this problem, or refuses all that it offered, which is said once a
/// problem (nothing has happened then).
bool gemm_tuned(const Gemm& g, const char* where);

/// Each of cuBLASLt's first offers for it, at most `most` (core/candidates.h).
std::vector<Candidate> gemm_candidates(const Gemm& g, int most);

/// By cuBLASLt, or by the definition where it offers nothing for a product without extras, which is said once.
void gemm(const Gemm& g, const char* where);

}  // namespace sked::cuda
