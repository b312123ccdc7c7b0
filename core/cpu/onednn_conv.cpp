// Convolution by oneDNN. Activations stay NHWC; filters arrive as OIHW and are rearranged to the blocks its kernels
// want, which costs little beside the convolution and keeps one order of filters everywhere else. The 3×3 convolutions
// at stride 1, which are most of a ResNet's work, go by Winograd's algorithm over oneDNN's products. In bf16, where the
// processor has instructions for it, all are oneDNN's, of factors rounded on the way in; sums and results stay f32.

#include "core/cpu/onednn.h"
#include "core/cpu/onednn_bf16.h"
#include "core/cpu/onednn_winograd.h"
#include "core/cpu/rows.h"

namespace sked::cpu {
namespace {

using onednn::Tag;
using Type = dnnl::memory::data_type;

/// A convolution with the filters' reorder from (or, for their gradient, to) OIHW.
struct ConvPlan {
  onednn::Operation convolve, rearrange;
};

/// What the operands of a direction are stored in: bf16 where they are rounded factors.
struct ConvTypes {
  Type x = Type::f32, w = Type::f32, y = Type::f32;
};

onednn::ConvLayouts layouts(const ConvSizes& s, const Window& window, bool bias, const ConvTypes& types, Tag filters,
                            Tag grouped_filters) {
  const int64_t g = window.groups, k = window.kernel;
  return {onednn::layout({s.N, s.I, s.H, s.W}, Tag::nhwc, types.x),
          g == 1 ? onednn::layout({s.O, s.I, k, k}, filters, types.w)
                 : onednn::layout({g, s.O / g, s.I / g, k, k}, grouped_filters, types.w),
          bias ? onednn::layout({s.O}, Tag::x) : onednn::Layout(),
          onednn::layout({s.N, s.O, s.P, s.Q}, Tag::nhwc, types.y)};
}

using MakeConvolution = onednn::Operation (*)(const onednn::ConvLayouts&, const Window&);

/// One of the three directions: how oneDNN makes it, and which operands are factors.
struct Direction {
  MakeConvolution make;
  bool x, w, y;
  /// Which argument its filters are.
  int filters() const { return w ? DNNL_ARG_WEIGHTS : DNNL_ARG_DIFF_WEIGHTS; }
};
constexpr Direction kForward{onednn::convolution_forward, true, true, false};
constexpr Direction kBackwardInput{onednn::convolution_backward_input, false, true, true};
constexpr Direction kBackwardWeight{onednn::convolution_backward_weight, true, false, true};

ConvPlan make_plan(const ConvSizes& s, const Window& window, bool bias, const Direction& direction, bool rounded) {
  const auto type = [&](bool factor) { return rounded && factor ? Type::bf16 : Type::f32; };
  const ConvTypes types{type(direction.x), type(direction.w), type(direction.y)};
  const onednn::Operation convolve = direction.make(layouts(s, window, bias, types, Tag::any, Tag::any), window);
  const onednn::Layout plain = layouts(s, window, bias, {}, Tag::oihw, Tag::goihw).w;
  const onednn::Layout blocked = convolve.layout(direction.filters());
  return {convolve, direction.w ? onednn::reorder(plain, blocked) : onednn::reorder(blocked, plain)};
}

const ConvPlan& plan(const ConvSizes& s, const Window& window, bool bias, const Direction& direction) {
  static onednn::Cache<ConvPlan, 13> plans;
  const bool rounded = onednn::bf16_products();
  // x and w tell the directions apart.
  return plans.get({s.N, s.H, s.W, s.I, s.O, window.kernel, window.stride, window.padding, window.groups, bias,
                    direction.x, direction.w, rounded},
                   [&] { return make_plan(s, window, bias, direction, rounded); });
}

const void* raw(const Tensor& t) { return t.defined() ? t.raw() : nullptr; }

/// Activations as a factor, which a convolution in bf16 wants rounded.
Tensor factor(const Tensor& t) {
  t.data<float>();  // throws for another type
  return onednn::bf16_products() ? t.to(DType::bf16) : t;
}

/// The filters as the convolution wants them.
Tensor blocked_filters(const ConvPlan& plan, const Tensor& w) {
  Tensor blocked = plan.convolve.allocate(DNNL_ARG_WEIGHTS);
  plan.rearrange.run({{DNNL_ARG_FROM, w.raw()}, {DNNL_ARG_TO, blocked.raw()}});
  return blocked;
}

/// Winograd's algorithm sums and subtracts pixels before it multiplies, which bf16 is too coarse for.
bool by_winograd(const ConvSizes& s, const Window& window) {
  return !onednn::bf16_products() && winograd_suits(s, window);
}

/// What is left to the definition: problems without elements, and 1×1 convolutions with a stride whose input channels
/// do not fill vectors, because oneDNN 2.6 gathers those past the end of its scratch memory (seen with AVX2).
bool is_unsuitable(const ConvSizes& s, const Window& window) {
  constexpr int64_t kWidestVector = 16;
  return s.N == 0 || s.I == 0 || s.O == 0 ||
         (window.kernel == 1 && window.stride > 1 && s.I / window.groups % kWidestVector != 0);
}

void conv2d_forward(const Tensor& x, const Tensor& w, const Tensor& b, Tensor& y, Window window) {
  const ConvSizes s = conv_sizes(x, y);
  if (is_unsuitable(s, window)) return kernel::conv2d_forward.by_definition(x, w, b, y, window);
  if (by_winograd(s, window)) {
    const float* bias = b.defined() ? b.data<float>() : nullptr;
    return winograd_forward(s, x.data<float>(), w.data<float>(), bias, y.data<float>());
  }
  const ConvPlan& p = plan(s, window, b.defined(), kForward);
  const Tensor filters = blocked_filters(p, w), pixels = factor(x);
  p.convolve.run({{DNNL_ARG_SRC, pixels.raw()},
                  {DNNL_ARG_WEIGHTS, filters.raw()},
                  {DNNL_ARG_BIAS, raw(b)},
                  {DNNL_ARG_DST, y.raw()}});
}

void conv2d_backward_input(const Tensor& dy, const Tensor& w, Tensor& dx, Window window) {
  const ConvSizes s = conv_sizes(dx, dy);
  if (is_unsuitable(s, window)) return kernel::conv2d_backward_input.by_definition(dy, w, dx, window);
  if (by_winograd(s, window)) return winograd_backward_input(s, dy.data<float>(), w.data<float>(), dx.data<float>());
  const ConvPlan& p = plan(s, window, false, kBackwardInput);
  const Tensor filters = blocked_filters(p, w), gradient = factor(dy);
  p.convolve.run(
      {{DNNL_ARG_DIFF_DST, gradient.raw()}, {DNNL_ARG_WEIGHTS, filters.raw()}, {DNNL_ARG_DIFF_SRC, dx.raw()}});
}

void conv2d_backward_weight(const Tensor& dy, const Tensor& x, Tensor& dw, Tensor& db, Window window) {
  const ConvSizes s = conv_sizes(x, dy);
  if (is_unsuitable(s, window)) return kernel::conv2d_backward_weight.by_definition(dy, x, dw, db, window);
  if (by_winograd(s, window)) {
    winograd_backward_weight(s, dy.data<float>(), x.data<float>(), dw.data<float>());
    if (db.defined()) sum_rows(dy.data<float>(), dy.numel() / s.O, s.O, db.data<float>());
    return;
  }
  const ConvPlan& p = plan(s, window, db.defined(), kBackwardWeight);
  const Tensor blocked = p.convolve.allocate(DNNL_ARG_DIFF_WEIGHTS);
  const Tensor pixels = factor(x), gradient = factor(dy);
  p.convolve.run({{DNNL_ARG_SRC, pixels.raw()},
                  {DNNL_ARG_DIFF_DST, gradient.raw()},
                  {DNNL_ARG_DIFF_WEIGHTS, blocked.raw()},
                  {DNNL_ARG_DIFF_BIAS, raw(db)}});
  p.rearrange.run({{DNNL_ARG_FROM, blocked.raw()}, {DNNL_ARG_TO, dw.raw()}});
}

[[maybe_unused]] const bool registered = kernel::conv2d_forward.tune(Device::cpu, conv2d_forward) &&
                                         kernel::conv2d_backward_input.tune(Device::cpu, conv2d_backward_input) &&
                                         kernel::conv2d_backward_weight.tune(Device::cpu, conv2d_backward_weight);

}  // namespace
}  // namespace sked::cpu
