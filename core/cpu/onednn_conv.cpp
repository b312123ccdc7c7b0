// Convolution by oneDNN. Activations stay NHWC; filters arrive as OIHW and are rearranged to the blocks its kernels
// want, which costs little beside the convolution and keeps one order of filters everywhere else. The 3×3 convolutions
// at stride 1, which are most of a ResNet's work, go by Winograd's algorithm over oneDNN's products.

#include "core/cpu/onednn.h"
#include "core/cpu/onednn_winograd.h"
#include "core/cpu/rows.h"
#include "core/kernels/sizes.h"

namespace sked::cpu {
namespace {

/// A convolution with the filters' rearrangement from (or, for their gradient, to) OIHW.
struct ConvPlan {
  onednn::Operation convolve, rearrange;
};

using onednn::Tag;

onednn::ConvLayouts layouts(const ConvSizes& s, const Window& window, bool bias, Tag filters, Tag grouped_filters) {
  const int64_t g = window.groups, k = window.kernel;
  return {
      onednn::layout({s.N, s.I, s.H, s.W}, Tag::nhwc),
      g == 1 ? onednn::layout({s.O, s.I, k, k}, filters) : onednn::layout({g, s.O / g, s.I / g, k, k}, grouped_filters),
      bias ? onednn::layout({s.O}, Tag::x) : onednn::Layout(), onednn::layout({s.N, s.O, s.P, s.Q}, Tag::nhwc)};
}

using MakeConvolution = onednn::Operation (*)(const onednn::ConvLayouts&, const Window&);

/// The plan for one direction, whose filters are the argument `filters` (WEIGHTS or DIFF_WEIGHTS).
const ConvPlan& plan(const ConvSizes& s, const Window& window, bool bias, MakeConvolution make, int filters) {
  static onednn::Cache<ConvPlan, 10> forward, backward_input, backward_weight;
  auto& cache = make == onednn::convolution_forward          ? forward
                : make == onednn::convolution_backward_input ? backward_input
                                                             : backward_weight;
  return cache.get({s.N, s.H, s.W, s.I, s.O, window.kernel, window.stride, window.padding, window.groups, bias}, [&] {
    const onednn::Operation convolve = make(layouts(s, window, bias, Tag::any, Tag::any), window);
    const onednn::Layout plain = layouts(s, window, bias, Tag::oihw, Tag::goihw).w, blocked = convolve.layout(filters);
    return ConvPlan{convolve, filters == DNNL_ARG_WEIGHTS ? onednn::rearrangement(plain, blocked)
                                                          : onednn::rearrangement(blocked, plain)};
  });
}

const void* raw(const Tensor& t) { return t.defined() ? t.raw() : nullptr; }

/// The filters as the convolution wants them.
Tensor blocked_filters(const ConvPlan& plan, const Tensor& w) {
  Tensor blocked = plan.convolve.room(DNNL_ARG_WEIGHTS);
  plan.rearrange.run({{DNNL_ARG_FROM, w.raw()}, {DNNL_ARG_TO, blocked.raw()}});
  return blocked;
}

/// What is left to the definition: problems without elements, and 1×1 convolutions with a stride whose input channels
/// do not fill vectors, because oneDNN 2.6 gathers those past the end of its scratch memory (seen with AVX2).
bool is_unsuitable(const ConvSizes& s, const Window& window) {
  constexpr int64_t kWidestVector = 16;
  return s.N == 0 || s.I == 0 || s.O == 0 ||
         (window.kernel == 1 && window.stride > 1 && s.I / window.groups % kWidestVector != 0);
}

void conv2d_forward(const Tensor& x, const Tensor& w, const Tensor& b, Tensor& y, Window window) {
  const ConvSizes s = conv_sizes(x, w, b, y, window, "conv2d_forward");
  if (is_unsuitable(s, window)) {
    const ReferenceOnly definition;
    return kernel::conv2d_forward(x, w, b, y, window);
  }
  if (winograd_suits(s, window)) {
    const float* bias = b.defined() ? b.data<float>() : nullptr;
    return winograd_forward(s, x.data<float>(), w.data<float>(), bias, y.data<float>());
  }
  const ConvPlan& p = plan(s, window, b.defined(), onednn::convolution_forward, DNNL_ARG_WEIGHTS);
  const Tensor filters = blocked_filters(p, w);
  p.convolve.run({{DNNL_ARG_SRC, x.data<float>()},
                  {DNNL_ARG_WEIGHTS, filters.raw()},
                  {DNNL_ARG_BIAS, raw(b)},
                  {DNNL_ARG_DST, y.raw()}});
}

void conv2d_backward_input(const Tensor& dy, const Tensor& w, Tensor& dx, Window window) {
  const ConvSizes s = conv_sizes(dx, w, {}, dy, window, "conv2d_backward_input");
  if (is_unsuitable(s, window)) {
    const ReferenceOnly definition;
    return kernel::conv2d_backward_input(dy, w, dx, window);
  }
  if (winograd_suits(s, window)) return winograd_backward_input(s, dy.data<float>(), w.data<float>(), dx.data<float>());
  const ConvPlan& p = plan(s, window, false, onednn::convolution_backward_input, DNNL_ARG_WEIGHTS);
  const Tensor filters = blocked_filters(p, w);
  p.convolve.run(
      {{DNNL_ARG_DIFF_DST, dy.data<float>()}, {DNNL_ARG_WEIGHTS, filters.raw()}, {DNNL_ARG_DIFF_SRC, dx.raw()}});
}

void conv2d_backward_weight(const Tensor& dy, const Tensor& x, Tensor& dw, Tensor& db, Window window) {
  const ConvSizes s = conv_sizes(x, dw, db, dy, window, "conv2d_backward_weight");
  if (is_unsuitable(s, window)) {
    const ReferenceOnly definition;
    return kernel::conv2d_backward_weight(dy, x, dw, db, window);
  }
  if (winograd_suits(s, window)) {
    winograd_backward_weight(s, dy.data<float>(), x.data<float>(), dw.data<float>());
    if (db.defined()) sum_rows(dy.data<float>(), dy.numel() / s.O, s.O, db.data<float>());
    return;
  }
  const ConvPlan& p = plan(s, window, db.defined(), onednn::convolution_backward_weight, DNNL_ARG_DIFF_WEIGHTS);
  const Tensor blocked = p.convolve.room(DNNL_ARG_DIFF_WEIGHTS);
  p.convolve.run({{DNNL_ARG_SRC, x.data<float>()},
                  {DNNL_ARG_DIFF_DST, dy.raw()},
                  {DNNL_ARG_DIFF_WEIGHTS, blocked.raw()},
                  {DNNL_ARG_DIFF_BIAS, raw(db)}});
  p.rearrange.run({{DNNL_ARG_FROM, blocked.raw()}, {DNNL_ARG_TO, dw.raw()}});
}

[[maybe_unused]] const bool registered = kernel::conv2d_forward.tune(Device::cpu, conv2d_forward) &&
                                         kernel::conv2d_backward_input.tune(Device::cpu, conv2d_backward_input) &&
                                         kernel::conv2d_backward_weight.tune(Device::cpu, conv2d_backward_weight);

}  // namespace
}  // namespace sked::cpu
