// conv2d_forward, conv2d_backward_input, conv2d_backward_weight: the sums of core/kernels/conv.h written out.

#include "core/kernels/conv.h"

#include "tests/common/hash_weights.h"
#include "tests/kernels/case.h"

namespace sked::test {
namespace {

// Observed below 1e-6 of the largest result.
constexpr Tolerance kSums{4e-6, "sums of up to 9·64 (forward) or 2·15·15 (weights) products of size 1 at most"};
constexpr Tolerance kOnGpu{1e-5, "sums of up to 1,200 products of size 1, in whatever order a library takes them", 1};

struct Problem {
  int64_t N, H, W, I, O;
  Window window;

  Shape x() const { return {N, H, W, I}; }
  Shape w() const { return {O, I / window.groups, window.kernel, window.kernel}; }
  Shape y() const { return {N, window.output(H), window.output(W), O}; }
  std::string str() const {
    return x().str() + " * " + w().str() + ", stride " + std::to_string(window.stride) + ", padding " +
           std::to_string(window.padding) + ", groups " + std::to_string(window.groups);
  }

  /// f(index in x, in w, in y) for every product that the convolution sums.
  template <class F>
  void for_each_product(F&& f) const {
    const auto [kernel, stride, padding, groups] = window;
    const int64_t P = window.output(H), Q = window.output(W), Ig = I / groups, Og = O / groups;
    for (int64_t n = 0; n < N; ++n)
      for (int64_t p = 0; p < P; ++p)
        for (int64_t q = 0; q < Q; ++q)
          for (int64_t o = 0; o < O; ++o)
            for (int64_t i = 0; i < Ig; ++i)
              for (int64_t r = 0; r < kernel; ++r)
                for (int64_t s = 0; s < kernel; ++s) {
                  const int64_t h = p * stride + r - padding, w = q * stride + s - padding, channel = o / Og * Ig + i;
                  if (h < 0 || h >= H || w < 0 || w >= W) continue;
                  f(((n * H + h) * W + w) * I + channel, ((o * Ig + i) * kernel + r) * kernel + s,
                    ((n * P + p) * Q + q) * O + o);
                }
  }
};

KernelCase forward(const Problem& p, bool bias) {
  const Tensor x = hash_tensor(p.x(), 1), w = hash_tensor(p.w(), 2), b = bias ? hash_tensor({p.O}, 3) : Tensor();
  return case_of(kernel::conv2d_forward, p.str(), {x, w, b}, {unset(p.y())}, p.window)
      .gives(
          [=](const auto& in, const auto&) {
            Values y(static_cast<size_t>(p.y().numel()));
            for (size_t i = 0; bias && i < y.size(); ++i) y[i] = in[2][i % in[2].size()];
            p.for_each_product([&](int64_t xi, int64_t wi, int64_t yi) { y[yi] += in[0][xi] * in[1][wi]; });
            return ValueLists{y};
          },
          kSums)
      .on_gpu(kOnGpu)
      .stored_in_bf16({0, 1, 2}, {0})
      .stored_in_bf16({0}, {0});  // f32 filters
}

KernelCase backward_input(const Problem& p) {
  return case_of(kernel::conv2d_backward_input, p.str(), {hash_tensor(p.y(), 4), hash_tensor(p.w(), 2)}, {unset(p.x())},
                 p.window)
      .gives(
          [=](const auto& in, const auto&) {
            Values dx(static_cast<size_t>(p.x().numel()));
            p.for_each_product([&](int64_t xi, int64_t wi, int64_t yi) { dx[xi] += in[0][yi] * in[1][wi]; });
            return ValueLists{dx};
          },
          kSums)
      .on_gpu(kOnGpu)
      .stored_in_bf16({0, 1}, {0})
      .stored_in_bf16({0}, {0});
}

KernelCase backward_weight(const Problem& p, bool bias) {
  return case_of(kernel::conv2d_backward_weight, p.str(), {hash_tensor(p.y(), 4), hash_tensor(p.x(), 1)},
                 {unset(p.w()), bias ? unset({p.O}) : Tensor()}, p.window)
      .gives(
          [=](const auto& in, const auto&) {
            Values dw(static_cast<size_t>(p.w().numel())), db(static_cast<size_t>(bias ? p.O : 0));
            p.for_each_product([&](int64_t xi, int64_t wi, int64_t yi) { dw[wi] += in[0][yi] * in[1][xi]; });
            for (size_t i = 0; bias && i < in[0].size(); ++i) db[i % db.size()] += in[0][i];
            return ValueLists{dw, db};
          },
          kSums)
      .on_gpu(kOnGpu)
      .stored_in_bf16({0, 1}, {0, 1})
      .stored_in_bf16({0, 1}, {});
}

const Problem kProblems[] = {
    // strides, padding, groups, 1×1, no images
    {1, 1, 1, 1, 1, {1, 1, 0, 1}},
    {2, 5, 7, 3, 4, {3, 1, 1, 1}},
    {2, 5, 7, 3, 5, {3, 2, 1, 1}},
    {1, 8, 6, 17, 16, {1, 1, 0, 1}},
    {2, 7, 7, 5, 3, {1, 2, 0, 1}},
    {1, 6, 6, 16, 32, {3, 2, 0, 1}},
    {2, 4, 4, 6, 4, {3, 1, 1, 2}},
    {1, 5, 5, 8, 8, {3, 1, 1, 8}},
    {1, 9, 9, 3, 8, {4, 4, 0, 1}},
    {1, 3, 3, 2, 3, {5, 1, 3, 1}},
    {2, 15, 15, 64, 16, {3, 1, 1, 1}},
    {3, 9, 11, 13, 7, {7, 2, 3, 1}},
    {0, 4, 4, 3, 2, {3, 1, 1, 1}},
    {1, 1, 1, 16, 16, {3, 1, 1, 1}},
    {2, 7, 6, 17, 19, {3, 1, 1, 1}},
    {9, 9, 8, 16, 24, {3, 1, 1, 1}},
    {2, 8, 8, 4, 8, {1, 2, 0, 1}},
    {2, 8, 8, 16, 8, {1, 2, 0, 1}},
    // pixels enough for Winograd's larger tiles, some of which reach beyond two edges
    {6, 19, 18, 72, 24, {3, 1, 1, 1}},
    // channels enough for Winograd's algorithm in bf16 too
    {2, 7, 5, 131, 136, {3, 1, 1, 1}},
    // ResNeXt's: 32 groups of 4 channels, 4 of 16 and of 20
    {2, 9, 8, 128, 128, {3, 1, 1, 32}},
    {2, 9, 8, 128, 128, {3, 2, 1, 32}},
    {1, 7, 7, 64, 64, {3, 1, 1, 4}},
    {1, 7, 7, 80, 80, {3, 2, 1, 4}},
    // a residual network's: first layer, strides, projection, groups
    {1, 20, 20, 3, 64, {7, 2, 3, 1}},
    {2, 8, 8, 32, 64, {3, 2, 1, 1}},
    {2, 8, 8, 32, 64, {1, 2, 0, 1}},
    {2, 8, 8, 64, 64, {3, 1, 1, 4}},
};

void add_refusals(KernelCases& cases) {
  const Tensor x = Tensor::zeros({2, 5, 5, 3}), w = Tensor::zeros({4, 3, 3, 3}), y = Tensor::empty({2, 5, 5, 4}), none;
  const Window window{3, 1, 1, 1};
  const auto forward = [&](const Tensor& in, const Tensor& filters, const Tensor& bias, const Window& by,
                           std::vector<std::string> words) {
    cases.push_back(
        case_of(kernel::conv2d_forward, "refused", {in, filters, bias}, {y}, by).is_refused(std::move(words)));
  };
  forward(Tensor::zeros({5, 5, 3}), w, none, window, {"(5, 5, 3)"});
  forward(x, Tensor::zeros({4, 2, 3, 3}), none, window, {"(4, 2, 3, 3)"});
  forward(x, w, Tensor::zeros({3}), window, {"bias"});
  forward(x, w, none, {3, 1, 1, 2}, {"groups"});
  forward(x, w, none, {3, 0, 1, 1}, {"[", "stride"});
  forward(x, w, none, {3, 2, 1, 1}, {"y", "(2, 3, 3, 4)"});
  forward(x, Tensor::zeros({4, 3, 7, 7}), none, {7, 1, 0, 1}, {"[", "7", "5"});
  const Tensor ix = x.to(DType::i64), iw = w.to(DType::i64), iy = Tensor::zeros(y.shape(), DType::i64);
  cases.push_back(case_of(kernel::conv2d_forward, "refused", {ix, iw, none}, {iy}, window).is_refused({"[", "i64"}));
  cases.push_back(case_of(kernel::conv2d_backward_input, "refused", {iy, iw}, {ix}, window).is_refused({"[", "i64"}));
  cases.push_back(
      case_of(kernel::conv2d_backward_weight, "refused", {iy, ix}, {iw, none}, window).is_refused({"[", "i64"}));
  cases.push_back(case_of(kernel::conv2d_backward_input, "refused", {y, w}, {y}, window).is_refused());
  cases.push_back(case_of(kernel::conv2d_backward_weight, "refused", {y, x}, {x, none}, window).is_refused());
}

}  // namespace

KernelCases conv_cases() {
  KernelCases cases;
  for (const Problem& p : kProblems) {
    for (const bool bias : {false, true}) {
      cases.push_back(forward(p, bias));
      cases.push_back(backward_weight(p, bias));
    }
    cases.push_back(backward_input(p));
  }
  add_refusals(cases);
  return cases;
}

KernelCases timed_conv() {
  const Problem problems[] = {
      {64, 32, 32, 64, 64, {3, 1, 1}}, {64, 32, 32, 64, 128, {3, 2, 1}}, {64, 8, 8, 256, 256, {3, 1, 1}}};
  KernelCases cases;
  const auto add = [&](KernelCase c, const std::string& what, const Problem& p) {
    const std::string row = "conv2d " + what + " " + std::to_string(p.I) + "->" + std::to_string(p.O) + " k" +
                            std::to_string(p.window.kernel) + " s" + std::to_string(p.window.stride) + " " +
                            std::to_string(p.H) + "x" + std::to_string(p.W);
    const int64_t taps = p.I * p.window.kernel * p.window.kernel;
    cases.push_back(c.timed({row, 2.0 * static_cast<double>(p.y().numel() * taps)}));
  };
  for (const Problem& p : problems) add(forward(p, false), "forward", p);
  for (const Problem& p : problems) add(backward_input(p), "backward_input", p);
  for (const Problem& p : problems) add(backward_weight(p, false), "backward_weight", p);
  return cases;
}

}  // namespace sked::test
