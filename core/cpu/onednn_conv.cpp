// Convolution by oneDNN. Activations stay NHWC; filters arrive as OIHW in f32 and are rearranged to the blocks its
// kernels want, which costs little beside the convolution and keeps one order of filters everywhere else. The 3×3
// convolutions at stride 1, which are most of a ResNet's work, go by Winograd's algorithm over oneDNN's products.
// Activations in bf16 are multiplied as they are, by filters rounded on the way, where the processor has instructions
// for it; sums are f32.

#include "core/cpu/onednn.h"
#include "core/cpu/onednn_bf16.h"
#include "core/cpu/onednn_winograd.h"
#include "core/cpu/rows.h"
#include "core/kernels/matmul.h"

namespace sked::cpu {
namespace {

using onednn::Tag;
using Type = dnnl::memory::data_type;

/// Activations in `pixels`, filters in `taps`.
onednn::ConvLayouts layouts(const ConvSizes& s, const Window& window, bool bias, Type pixels, Type taps, Tag filters,
                            Tag grouped_filters) {
  const int64_t g = window.groups, k = window.kernel;
  return {onednn::layout({s.N, s.I, s.H, s.W}, Tag::nhwc, pixels),
          g == 1 ? onednn::layout({s.O, s.I, k, k}, filters, taps)
                 : onednn::layout({g, s.O / g, s.I / g, k, k}, grouped_filters, taps),
          bias ? onednn::layout({s.O}, Tag::x) : onednn::Layout(),
          onednn::layout({s.N, s.O, s.P, s.Q}, Tag::nhwc, pixels)};
}

using MakeConvolution = onednn::Operation (*)(const onednn::ConvLayouts&, const Window&);

/// One of the three directions: how oneDNN makes it, and whether filters go in or their gradient comes out.
struct Direction {
  int64_t number;
  MakeConvolution make;
  bool takes_filters;
  int filters() const { return takes_filters ? DNNL_ARG_WEIGHTS : DNNL_ARG_DIFF_WEIGHTS; }
};
constexpr Direction kForward{0, onednn::convolution_forward, true};
constexpr Direction kBackwardInput{1, onednn::convolution_backward_input, true};
constexpr Direction kBackwardWeight{2, onednn::convolution_backward_weight, false};

/// Filters and their gradient are given as OIHW in f32.
onednn::FilterPlan make_plan(const ConvSizes& s, const Window& window, bool bias, const Direction& direction,
                             Type pixels) {
  const Type taps = direction.takes_filters ? pixels : Type::f32;
  const onednn::Operation convolve = direction.make(layouts(s, window, bias, pixels, taps, Tag::any, Tag::any), window);
  const onednn::Layout plain = layouts(s, window, bias, pixels, Type::f32, Tag::oihw, Tag::goihw).w;
  const onednn::Layout blocked = convolve.layout(direction.filters());
  return {convolve, direction.takes_filters ? onednn::reorder(plain, blocked) : onednn::reorder(blocked, plain)};
}

const onednn::FilterPlan& plan(const ConvSizes& s, const Window& window, bool bias, const Direction& direction,
                               DType dtype) {
  static onednn::Cache<onednn::FilterPlan, 12> plans;
  const bool rounded = dtype == DType::bf16;
  return plans.get({s.N, s.H, s.W, s.I, s.O, window.kernel, window.stride, window.padding, window.groups, bias,
                    direction.number, rounded},
                   [&] { return make_plan(s, window, bias, direction, onednn::type_of(dtype)); });
}

const void* raw(const Tensor& t) { return t.defined() ? t.raw() : nullptr; }

/// Must this mixture of dtypes be computed in f32? Not activations in f32 or bf16, both alike, beside parameters (or
/// their gradients) in f32.
bool is_mixed(const Tensor& a, const Tensor& other, const Tensor& w, const Tensor& b) {
  if (a.dtype() != DType::bf16) a.data<float>();  // throws for another type
  return a.dtype() != other.dtype() || w.dtype() != DType::f32 || (b.defined() && b.dtype() != DType::f32);
}

/// f(T{}) with T = float or bf16.
template <class F>
void visit_pixels(const Tensor& t, F&& f) {
  t.dtype() == DType::bf16 ? f(bf16{}) : f(float{});
}

/// What is left to the definition: problems without elements, and 1×1 convolutions with a stride whose input channels
/// do not fill vectors, because oneDNN 2.6 gathers those past the end of its scratch memory (seen with AVX2).
bool is_unsuitable(const ConvSizes& s, const Window& window) {
  constexpr int64_t kWidestVector = 16;
  return s.N == 0 || s.I == 0 || s.O == 0 ||
         (window.kernel == 1 && window.stride > 1 && s.I / window.groups % kWidestVector != 0);
}

/// Is this a linear layer of pixels, and computed as one? Backward such a layer is the faster one, forward the
/// convolution; but it rounds f32 where products are asked to, which convolutions do not.
bool is_linear(const Tensor& pixels, const Window& window) {
  return window.kernel == 1 && window.stride == 1 && window.padding == 0 && window.groups == 1 &&
         (pixels.dtype() == DType::bf16 || !onednn::bf16_products());
}
/// (N,H,W,C) as rows, filters (O,I,1,1) as a matrix.
Tensor rows_of(const Tensor& t) { return t.reshape({t.numel() / t.dim(3), t.dim(3)}); }
Tensor matrix_of(const Tensor& w) { return w.reshape({w.dim(0), w.dim(1)}); }

void conv2d_forward(const Tensor& x, const Tensor& w, const Tensor& b, Tensor& y, Window window) {
  const ConvSizes s = conv_sizes(x, y);
  if (is_unsuitable(s, window)) return kernel::conv2d_forward.by_definition(x, w, b, y, window);
  if (is_mixed(x, y, w, b)) return kernel::conv2d_forward.widened(conv2d_forward, x, w, b, y, window);
  if (winograd_suits(s, window, x.dtype(), w.keeps_prepared())) {
    const float* bias = b.defined() ? b.data<float>() : nullptr;
    return visit_pixels(x, [&]<class T>(T) { winograd_forward(s, x.data<T>(), w, bias, y.data<T>()); });
  }
  const onednn::FilterPlan& p = plan(s, window, b.defined(), kForward, x.dtype());
  const Tensor filters = p.filters(w);
  p.compute.run(
      {{DNNL_ARG_SRC, x.raw()}, {DNNL_ARG_WEIGHTS, filters.raw()}, {DNNL_ARG_BIAS, raw(b)}, {DNNL_ARG_DST, y.raw()}});
}

void conv2d_backward_input(const Tensor& dy, const Tensor& w, Tensor& dx, Window window) {
  const ConvSizes s = conv_sizes(dx, dy);
  if (is_unsuitable(s, window)) return kernel::conv2d_backward_input.by_definition(dy, w, dx, window);
  if (is_mixed(dy, dx, w, {})) return kernel::conv2d_backward_input.widened(conv2d_backward_input, dy, w, dx, window);
  if (is_linear(dy, window)) {
    Tensor to = rows_of(dx);
    return kernel::linear_backward_input(rows_of(dy), matrix_of(w), to);
  }
  if (winograd_suits(s, window, dy.dtype())) {
    return visit_pixels(dy,
                        [&]<class T>(T) { winograd_backward_input(s, dy.data<T>(), w.data<float>(), dx.data<T>()); });
  }
  const onednn::FilterPlan& p = plan(s, window, false, kBackwardInput, dy.dtype());
  const Tensor filters = p.filters(w);
  p.compute.run({{DNNL_ARG_DIFF_DST, dy.raw()}, {DNNL_ARG_WEIGHTS, filters.raw()}, {DNNL_ARG_DIFF_SRC, dx.raw()}});
}

void conv2d_backward_weight(const Tensor& dy, const Tensor& x, Tensor& dw, Tensor& db, Window window) {
  const ConvSizes s = conv_sizes(x, dy);
  if (is_unsuitable(s, window)) return kernel::conv2d_backward_weight.by_definition(dy, x, dw, db, window);
  if (is_mixed(dy, x, dw, db))
    return kernel::conv2d_backward_weight.widened(conv2d_backward_weight, dy, x, dw, db, window);
  if (is_linear(x, window)) {
    Tensor to = matrix_of(dw);
    return kernel::linear_backward_weight(rows_of(dy), rows_of(x), to, db);
  }
  if (winograd_suits(s, window, x.dtype())) {
    return visit_pixels(x, [&]<class T>(T) {
      winograd_backward_weight(s, dy.data<T>(), x.data<T>(), dw.data<float>());
      if (db.defined()) sum_rows(dy.data<T>(), dy.numel() / s.O, s.O, db.data<float>());
    });
  }
  const onednn::FilterPlan& p = plan(s, window, db.defined(), kBackwardWeight, x.dtype());
  const Tensor blocked = p.compute.allocate(DNNL_ARG_DIFF_WEIGHTS);
  p.compute.run({{DNNL_ARG_SRC, x.raw()},
                 {DNNL_ARG_DIFF_DST, dy.raw()},
                 {DNNL_ARG_DIFF_WEIGHTS, blocked.raw()},
                 {DNNL_ARG_DIFF_BIAS, raw(db)}});
  p.rearrange.run({{DNNL_ARG_FROM, blocked.raw()}, {DNNL_ARG_TO, dw.raw()}});
}

[[maybe_unused]] const bool registered =
    kernel::conv2d_forward.tune(Device::cpu, conv2d_forward, onednn::has_bf16_instructions()) &&
    kernel::conv2d_backward_input.tune(Device::cpu, conv2d_backward_input, onednn::has_bf16_instructions()) &&
    kernel::conv2d_backward_weight.tune(Device::cpu, conv2d_backward_weight, onednn::has_bf16_instructions());

}  // namespace
}  // namespace sked::cpu
