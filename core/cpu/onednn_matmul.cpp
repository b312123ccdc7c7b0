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

template <class T>
void multiply_small(int64_t M, int64_t N, int64_t Q, MatrixView<T> a, MatrixView<T> b, float* c, bool accumulate) {
  static Cache<Operation, 4> cache;
  const bool a_rows = a.col == 1, b_rows = b.col == 1;
  const Operation& multiply = cache.get({M, N, Q, a_rows + 2 * b_rows + 4 * accumulate}, [&] {
    const auto type = type_of(dtype_of<T>);
    return matmul(layout({M, Q}, a_rows ? Tag::ab : Tag::ba, type), layout({Q, N}, b_rows ? Tag::ab : Tag::ba, type),
                  {}, layout({M, N}, Tag::ab), accumulate);
  });
  multiply.run({{DNNL_ARG_SRC, a.data}, {DNNL_ARG_WEIGHTS, b.data}, {DNNL_ARG_DST, c}});
}
template void multiply_small(int64_t, int64_t, int64_t, MatrixView<float>, MatrixView<float>, float*, bool);
template void multiply_small(int64_t, int64_t, int64_t, MatrixView<bf16>, MatrixView<bf16>, float*, bool);

}  // namespace onednn

namespace {

using onednn::Tag;

/// sgemm packs both operands at every call; a 1×1 convolution only rearranges its filters, which makes the products of
/// ViT-S up to 15 % faster with AVX2 and up to 20 % with AVX-512, those with few columns (an HET-XL tile's logits) 40 %
/// and those that are added up (a tile's part of ∂z, AVX2) 4 to 13 %. Filters must fill whole vectors.
bool pointwise_suits(int64_t N, int64_t I, int64_t O) {
  static const bool able = onednn::processor_has(dnnl::cpu_isa::avx2);
  constexpr int64_t kFewestRows = 256;
  return able && N >= kFewestRows && I % 16 == 0 && O % 16 == 0;
}

/// y (N,O) = x (N,I) wᵀ, or x w for `transposed` w, [+ bias (O)] [+ y when accumulate], as a 1×1 convolution of N
/// pixels.
void multiply_pointwise(int64_t N, int64_t I, int64_t O, const float* x, const Tensor& w, bool transposed,
                        const float* bias, float* y, bool accumulate = false) {
  static onednn::Cache<onednn::FilterPlan, 6> cache;
  const onednn::FilterPlan& plan = cache.get({N, I, O, transposed, bias != nullptr, accumulate}, [&] {
    const onednn::Layout in = onednn::layout({1, I, N, 1}, Tag::nhwc), out = onednn::layout({1, O, N, 1}, Tag::nhwc);
    const onednn::Layout shift = bias ? onednn::layout({O}, Tag::x) : onednn::Layout();
    const auto make = accumulate ? onednn::convolution_forward_accumulate : onednn::convolution_forward;
    const onednn::Operation convolve = make({in, onednn::layout({O, I, 1, 1}, Tag::any), shift, out}, {});
    const onednn::Layout plain = onednn::layout({O, I, 1, 1}, transposed ? Tag::iohw : Tag::oihw);
    return onednn::FilterPlan{convolve, onednn::reorder(plain, convolve.layout(DNNL_ARG_WEIGHTS))};
  });
  const Tensor filters = plan.filters(w);
  plan.compute.run({{DNNL_ARG_SRC, x}, {DNNL_ARG_WEIGHTS, filters.raw()}, {DNNL_ARG_BIAS, bias}, {DNNL_ARG_DST, y}});
}

/// The same by the matmul primitive, of w in blocks that its storage keeps: then it is the fastest, whatever N is (one
/// image of a ViT-S on one thread, AVX-512: 10 % faster than the convolution, 15 % than sgemm).
void multiply_kept(int64_t N, int64_t I, int64_t O, const float* x, const Tensor& w, bool transposed, const float* bias,
                   float* y) {
  static onednn::Cache<onednn::FilterPlan, 5> cache;
  const onednn::FilterPlan& plan = cache.get({N, I, O, transposed, bias != nullptr}, [&] {
    const onednn::Layout shift = bias ? onednn::layout({1, O}, Tag::ab) : onednn::Layout();
    const onednn::Operation multiply = onednn::matmul(onednn::layout({N, I}, Tag::ab), onednn::layout({I, O}, Tag::any),
                                                      shift, onednn::layout({N, O}, Tag::ab), false);
    const onednn::Layout plain = onednn::layout({I, O}, transposed ? Tag::ab : Tag::ba);
    return onednn::FilterPlan{multiply, onednn::reorder(plain, multiply.layout(DNNL_ARG_WEIGHTS))};
  });
  const Tensor filters = plan.filters(w);
  plan.compute.run({{DNNL_ARG_SRC, x}, {DNNL_ARG_WEIGHTS, filters.raw()}, {DNNL_ARG_BIAS, bias}, {DNNL_ARG_DST, y}});
}

/// Are the factors of products of x rounded to bf16, or are so already?
bool in_bf16(const Tensor& x) { return x.dtype() == DType::bf16 || onednn::bf16_products(); }

onednn::Factor factor(const Tensor& t, bool transposed) { return {t.raw(), t.dtype(), transposed, &t}; }

/// y (N,O) = x (N,I) wᵀ for w (O,I) or, `transposed`, x w for w (I,O), [+ bias (O)], in f32. Returns the bias where it
/// is still to be added.
const float* multiply_filters(int64_t N, int64_t I, int64_t O, const Tensor& x, const Tensor& w, bool transposed,
                              const float* bias, float* y) {
  const float *left = x.data<float>(), *right = w.data<float>();
  if (w.keeps_prepared()) return multiply_kept(N, I, O, left, w, transposed, bias, y), nullptr;
  if (pointwise_suits(N, I, O)) return multiply_pointwise(N, I, O, left, w, transposed, bias, y), nullptr;
  onednn::sgemm(N, O, I, 1.0f, {left, I, 1}, {right, transposed ? O : 1, transposed ? 1 : I}, y, O, false);
  return bias;
}

/// The start of matrix n of a batch.
const void* matrix(const Tensor& t, int64_t n, int64_t elements) {
  return static_cast<const std::byte*>(t.raw()) + static_cast<size_t>(n * elements) * size_of(t.dtype());
}

void matmul(const Tensor& a, const Tensor& b, Tensor& c, bool transpose_a, bool transpose_b, bool accumulate) {
  const MatmulSizes s = matmul_sizes(a, b, c, transpose_a);
  if (s.Q == 0 || c.numel() == 0) return kernel::matmul.by_definition(a, b, c, transpose_a, transpose_b, accumulate);
  const bool rounded = in_bf16(a);
  if (!rounded && s.batch == 1 && !transpose_a && pointwise_suits(s.M, s.Q, s.N)) {
    multiply_pointwise(s.M, s.Q, s.N, a.data<float>(), b, !transpose_b, nullptr, c.data<float>(), accumulate);
    return;
  }
  // Many small products: one a thread. Few: all threads on each.
#pragma omp parallel for schedule(static) if (s.batch >= onednn::threads_here())
  for (int64_t n = 0; n < s.batch; ++n) {
    const void *an = matrix(a, n, s.M * s.Q), *bn = matrix(b, s.shared_b ? 0 : n, s.Q * s.N);
    void* cn = const_cast<void*>(matrix(c, n, s.M * s.N));
    if (rounded) {
      onednn::multiply_bf16(s.M, s.N, s.Q, {an, a.dtype(), transpose_a}, {bn, b.dtype(), transpose_b},
                            {cn, c.dtype(), accumulate});
    } else {
      onednn::sgemm(s.M, s.N, s.Q, 1.0f, {static_cast<const float*>(an), transpose_a ? 1 : s.Q, transpose_a ? s.M : 1},
                    {static_cast<const float*>(bn), transpose_b ? 1 : s.N, transpose_b ? s.Q : 1},
                    static_cast<float*>(cn), s.N, accumulate);
    }
  }
}

bool is_empty(const LinearSizes& s) { return s.N == 0 || s.I == 0 || s.O == 0; }

/// The bias is added as the product leaves its registers.
void linear_forward_bf16(const LinearSizes& s, const Tensor& x, const Tensor& w, const Tensor& b, Tensor& y,
                         Tensor& pre, Activation act) {
  Tensor& z = product_target(y, pre, act);
  const bool bias = b.defined();
  onednn::multiply_bf16(s.N, s.O, s.I, factor(x, false), factor(w, true),
                        {z.raw(), z.dtype(), false, bias ? b.raw() : nullptr, bias ? b.dtype() : DType::f32});
  if (act != Activation::none) kernel::unary_forward(z, y, unary_of(act));
}

void linear_forward(const Tensor& x, const Tensor& w, const Tensor& b, Tensor& y, Tensor& pre, Activation act) {
  const LinearSizes s = linear_sizes(x, w);
  if (is_empty(s)) return kernel::linear_forward.by_definition(x, w, b, y, pre, act);
  if (in_bf16(x)) return linear_forward_bf16(s, x, w, b, y, pre, act);
  float* product = product_target(y, pre, act).data<float>();
  const float* bias = b.defined() ? b.data<float>() : nullptr;
  bias = multiply_filters(s.N, s.I, s.O, x, w, false, bias, product);
  finish_linear(product, bias, s.N, s.O, y.data<float>(), act);
}

void linear_backward_input(const Tensor& dy, const Tensor& w, Tensor& dx) {
  const LinearSizes s = linear_sizes(dx, w);
  if (is_empty(s)) return kernel::linear_backward_input.by_definition(dy, w, dx);
  if (in_bf16(dy))
    return onednn::multiply_bf16(s.N, s.I, s.O, factor(dy, false), factor(w, false), {dx.raw(), dx.dtype()});
  multiply_filters(s.N, s.O, s.I, dy, w, true, nullptr, dx.data<float>());
}

void linear_backward_weight(const Tensor& dy, const Tensor& x, Tensor& dw, Tensor& db) {
  const LinearSizes s = linear_sizes(x, dw);
  if (is_empty(s)) return kernel::linear_backward_weight.by_definition(dy, x, dw, db);
  if (in_bf16(x))
    onednn::multiply_bf16(s.O, s.I, s.N, factor(dy, true), factor(x, false), {dw.raw(), dw.dtype()});
  else
    onednn::sgemm(s.O, s.I, s.N, 1.0f, {dy.data<float>(), 1, s.O}, {x.data<float>(), s.I, 1}, dw.data<float>(), s.I,
                  false);
  if (!db.defined()) return;
  visit_stored(dy.dtype(), "linear_backward_weight", [&]<class T>(T) {
    visit_stored(db.dtype(), "linear_backward_weight",
                 [&]<class Sum>(Sum) { sum_rows(dy.data<T>(), s.N, s.O, db.data<Sum>()); });
  });
}

/// The definition's operands in bf16 are widened; these take them as they are, where the processor does.
const bool stores = onednn::has_bf16_instructions();

[[maybe_unused]] const bool registered =
    kernel::matmul.tune(Device::cpu, matmul, stores) &&
    kernel::linear_forward.tune(Device::cpu, linear_forward, stores) &&
    kernel::linear_backward_input.tune(Device::cpu, linear_backward_input, stores) &&
    kernel::linear_backward_weight.tune(Device::cpu, linear_backward_weight, stores);

}  // namespace
}  // namespace sked::cpu
