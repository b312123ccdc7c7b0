// Matrix products by oneDNN.

#include <algorithm>
#include <cassert>
#include <new>

#include "core/cpu/epilogue.h"
#include "core/cpu/onednn.h"
#include "core/cpu/onednn_bf16.h"
#include "core/cpu/onednn_gemm.h"
#include "core/cpu/rows.h"
#include "core/kernels/matmul.h"

namespace sked::cpu {
namespace onednn {

namespace {
/// An operand as BLAS names it. A stride between single rows means nothing and may be less than BLAS allows.
struct BlasOperand {
  char order;
  int64_t leading;
  BlasOperand(const MatrixView<float>& m, int64_t rows, int64_t cols)
      : order(m.col == 1 ? 'N' : 'T'), leading(m.col == 1 ? std::max(m.row, cols) : std::max(m.col, rows)) {}
};
}  // namespace

void sgemm(int64_t M, int64_t N, int64_t Q, float alpha, MatrixView<float> a, MatrixView<float> b, float* c,
           int64_t ldc, bool accumulate) {
  require_room_for_code();
  const BlasOperand left(a, M, Q), right(b, Q, N);
  const dnnl::status status = dnnl::sgemm(left.order, right.order, M, N, Q, alpha, a.data, left.leading, b.data,
                                          right.leading, accumulate ? 1.0f : 0.0f, c, std::max(ldc, N));
  if (status == dnnl::status::out_of_memory) throw std::bad_alloc();
  assert(status == dnnl::status::success);
}

}  // namespace onednn

namespace {

using onednn::Tag;

/// c (M,N) = aᵀ b for a (Q,M), b (Q,N). Where oneDNN has blocks of its own for b (with AVX-512), sgemm is slow at
/// transposing its first operand and the matmul primitive is not, given b in those blocks. Elsewhere the primitive is
/// sgemm, and takes b as it is.
struct TransposedPlan {
  onednn::Operation multiply, rearrange;
  bool blocked;
};

void multiply_transposed(int64_t M, int64_t N, int64_t Q, const float* a, const float* b, float* c, bool accumulate) {
  if (onednn::bf16_products()) return onednn::multiply_bf16(M, N, Q, {a, 1, M}, {b, N, 1}, c, accumulate);
  static onednn::Cache<TransposedPlan, 4> cache;
  const TransposedPlan& plan = cache.get({M, N, Q, accumulate}, [&] {
    const onednn::Layout plain = onednn::layout({Q, N}, Tag::ab);
    const onednn::Operation multiply = onednn::matmul(onednn::layout({M, Q}, Tag::ba), onednn::layout({Q, N}, Tag::any),
                                                      {}, onednn::layout({M, N}, Tag::ab), accumulate);
    const onednn::Layout wanted = multiply.layout(DNNL_ARG_WEIGHTS);
    return TransposedPlan{multiply, onednn::reorder(plain, wanted), wanted != plain};
  });
  if (!plan.blocked) return onednn::sgemm(M, N, Q, 1.0f, {a, 1, M}, {b, N, 1}, c, N, accumulate);
  Tensor blocked = plan.multiply.allocate(DNNL_ARG_WEIGHTS);
  plan.rearrange.run({{DNNL_ARG_FROM, b}, {DNNL_ARG_TO, blocked.raw()}});
  plan.multiply.run({{DNNL_ARG_SRC, a}, {DNNL_ARG_WEIGHTS, blocked.raw()}, {DNNL_ARG_DST, c}});
}

/// y (N,O) = x (N,I) wᵀ, or x w for `transposed` w, as a 1×1 convolution of N pixels.
struct PointwisePlan {
  onednn::Operation convolve, rearrange;
};

/// sgemm packs both operands at every call; a 1×1 convolution only rearranges its filters, which makes the products of
/// ViT-S up to 15 % faster with AVX2 and up to 20 % with AVX-512, and those with few columns (an HET-XL tile's logits)
/// 40 %. Filters must fill whole vectors.
bool pointwise_suits(int64_t N, int64_t I, int64_t O) {
  static const bool able = onednn::processor_has(dnnl::cpu_isa::avx2);
  constexpr int64_t kFewestRows = 256;
  return able && N >= kFewestRows && I % 16 == 0 && O % 16 == 0;
}

void multiply_pointwise(int64_t N, int64_t I, int64_t O, const float* x, const float* w, bool transposed, float* y) {
  static onednn::Cache<PointwisePlan, 4> cache;
  const PointwisePlan& plan = cache.get({N, I, O, transposed}, [&] {
    const onednn::Layout in = onednn::layout({1, I, N, 1}, Tag::nhwc), out = onednn::layout({1, O, N, 1}, Tag::nhwc);
    const onednn::Operation convolve =
        onednn::convolution_forward({in, onednn::layout({O, I, 1, 1}, Tag::any), {}, out}, {});
    const onednn::Layout plain = onednn::layout({O, I, 1, 1}, transposed ? Tag::iohw : Tag::oihw);
    return PointwisePlan{convolve, onednn::reorder(plain, convolve.layout(DNNL_ARG_WEIGHTS))};
  });
  const Tensor filters = plan.convolve.allocate(DNNL_ARG_WEIGHTS);
  plan.rearrange.run({{DNNL_ARG_FROM, w}, {DNNL_ARG_TO, filters.raw()}});
  plan.convolve.run({{DNNL_ARG_SRC, x}, {DNNL_ARG_WEIGHTS, filters.raw()}, {DNNL_ARG_DST, y}});
}

/// y (N,O) = x (N,I) wᵀ for w (O,I) or, `transposed`, x w for w (I,O).
void multiply_filters(int64_t N, int64_t I, int64_t O, const float* x, const float* w, bool transposed, float* y) {
  const MatrixView<float> left{x, I, 1}, right = transposed ? MatrixView<float>{w, O, 1} : MatrixView<float>{w, 1, I};
  if (onednn::bf16_products()) return onednn::multiply_bf16(N, O, I, left, right, y, false);
  if (pointwise_suits(N, I, O)) return multiply_pointwise(N, I, O, x, w, transposed, y);
  onednn::sgemm(N, O, I, 1.0f, left, right, y, O, false);
}

void matmul(const Tensor& a, const Tensor& b, Tensor& c, bool transpose_a, bool transpose_b, bool accumulate) {
  const MatmulSizes s = matmul_sizes(a, b, c, transpose_a);
  if (s.Q == 0 || c.numel() == 0) return kernel::matmul.by_definition(a, b, c, transpose_a, transpose_b, accumulate);
  const float *left = a.data<float>(), *right = b.data<float>();
  float* out = c.data<float>();
  if (s.batch == 1 && transpose_a && !transpose_b)
    return multiply_transposed(s.M, s.N, s.Q, left, right, out, accumulate);
  const bool rounded = onednn::bf16_products();
  // Many small products: one a thread. Few: all threads on each.
#pragma omp parallel for schedule(static) if (s.batch >= onednn::threads_here())
  for (int64_t n = 0; n < s.batch; ++n) {
    const MatrixView<float> an{left + n * s.M * s.Q, transpose_a ? 1 : s.Q, transpose_a ? s.M : 1};
    const MatrixView<float> bn{right + (s.shared_b ? 0 : n * s.Q * s.N), transpose_b ? 1 : s.N, transpose_b ? s.Q : 1};
    float* cn = out + n * s.M * s.N;
    if (rounded)
      onednn::multiply_bf16(s.M, s.N, s.Q, an, bn, cn, accumulate);
    else
      onednn::sgemm(s.M, s.N, s.Q, 1.0f, an, bn, cn, s.N, accumulate);
  }
}

bool is_empty(const LinearSizes& s) { return s.N == 0 || s.I == 0 || s.O == 0; }

void linear_forward(const Tensor& x, const Tensor& w, const Tensor& b, Tensor& y, Tensor& pre, Activation act) {
  const LinearSizes s = linear_sizes(x, w);
  if (is_empty(s)) return kernel::linear_forward.by_definition(x, w, b, y, pre, act);
  float* product = product_target(y, pre, act).data<float>();
  multiply_filters(s.N, s.I, s.O, x.data<float>(), w.data<float>(), false, product);
  finish_linear(product, b.defined() ? b.data<float>() : nullptr, s.N, s.O, pre.defined() ? pre.data<float>() : nullptr,
                y.data<float>(), act);
}

void linear_backward_input(const Tensor& dy, const Tensor& w, Tensor& dx) {
  const LinearSizes s = linear_sizes(dx, w);
  if (is_empty(s)) return kernel::linear_backward_input.by_definition(dy, w, dx);
  multiply_filters(s.N, s.O, s.I, dy.data<float>(), w.data<float>(), true, dx.data<float>());
}

void linear_backward_weight(const Tensor& dy, const Tensor& x, Tensor& dw, Tensor& db) {
  const LinearSizes s = linear_sizes(x, dw);
  if (is_empty(s)) return kernel::linear_backward_weight.by_definition(dy, x, dw, db);
  multiply_transposed(s.O, s.I, s.N, dy.data<float>(), x.data<float>(), dw.data<float>(), false);
  if (db.defined()) sum_rows(dy.data<float>(), s.N, s.O, db.data<float>());
}

[[maybe_unused]] const bool registered = kernel::matmul.tune(Device::cpu, matmul) &&
                                         kernel::linear_forward.tune(Device::cpu, linear_forward) &&
                                         kernel::linear_backward_input.tune(Device::cpu, linear_backward_input) &&
                                         kernel::linear_backward_weight.tune(Device::cpu, linear_backward_weight);

}  // namespace
}  // namespace sked::cpu
