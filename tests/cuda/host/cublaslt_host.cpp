// What cuBLASLt does for us, in plain loops: products with all that may ride on them, each one launch, as on a card. It
// offers everything but batches with extras and says so of tf32, whose factors it leaves in f32.

#include <cmath>
#include <vector>

#include "core/kernels/functors.h"
#include "core/precision.h"
#include "cuda/gemm.h"
#include "cuda/recording.h"
#include "cuda/runtime.h"

namespace sked::cuda {
namespace {

/// Element i of an operand in f32 or bf16, and its rounding.
float read(const void* data, DType dtype, int64_t i) {
  return dtype == DType::bf16 ? static_cast<float>(static_cast<const bf16*>(data)[i])
                              : static_cast<const float*>(data)[i];
}
void write(void* data, DType dtype, int64_t i, float value) {
  if (dtype == DType::bf16) {
    static_cast<bf16*>(data)[i] = static_cast<bf16>(value);
  } else {
    static_cast<float*>(data)[i] = value;
  }
}

/// What leaves the product at (m, n), and the place of it in c, pre and through.
float finished(const Gemm& g, int64_t n, int64_t at, float value) {
  if (g.through) return value * functor::GeluTanh::derivative(read(g.through, g.out, at));
  if (g.bias) value += read(g.bias, g.out, n);
  if (g.pre) write(g.pre, g.out, at, value);
  if (g.act == Activation::relu) return functor::Relu::forward(value);
  return g.act == Activation::gelu_tanh ? functor::GeluTanh::forward(value) : value;
}

void multiply(const Gemm& g, int64_t batch) {
  const int64_t a = batch * g.stride_a, b = batch * g.stride_b, c = batch * g.stride_c;
  std::vector<float> left(static_cast<size_t>(g.Q)), row(static_cast<size_t>(g.N));
  std::vector<double> columns(static_cast<size_t>(g.N));
  for (int64_t m = 0; m < g.M; ++m) {
    double sum = 0;
    row.assign(row.size(), 0);
    for (int64_t q = 0; q < g.Q; ++q) {
      const float factor = read(g.a, g.in, a + (g.transpose_a ? q * g.lda + m : m * g.lda + q));
      sum += factor;
      for (int64_t n = 0; n < g.N; ++n)
        row[static_cast<size_t>(n)] += factor * read(g.b, g.in, b + (g.transpose_b ? n * g.ldb + q : q * g.ldb + n));
    }
    if (g.sum_of_a) write(const_cast<void*>(g.sum_of_a), g.out, m, static_cast<float>(sum));
    for (int64_t n = 0; n < g.N; ++n) {
      const int64_t at = c + m * g.ldc + n;
      const float product = row[static_cast<size_t>(n)];
      const float value = finished(g, n, at, g.accumulate ? product + read(g.c, g.out, at) : product);
      columns[static_cast<size_t>(n)] += value;
      write(g.c, g.out, at, value);
    }
  }
  if (!g.sum_of_c) return;
  for (int64_t n = 0; n < g.N; ++n)
    write(const_cast<void*>(g.sum_of_c), g.out, n, static_cast<float>(columns[static_cast<size_t>(n)]));
}

}  // namespace

bool gemm_tuned(const Gemm& g, const char* where) {
  count_launch(where);
  const cudaError_t status = cuda_on_host::submit(compute_stream().get(), [g] {
#pragma omp parallel for
    for (int64_t batch = 0; batch < g.batch; ++batch) multiply(g, batch);
  });
  SKED_CUDA(status);
  return true;
}

std::vector<Candidate> gemm_candidates(const Gemm&, int) { return {}; }

namespace {
[[maybe_unused]] const bool offered = offer(Device::cuda, Precision::tf32) && offer(Device::cuda, Precision::bf16);
}

}  // namespace sked::cuda
