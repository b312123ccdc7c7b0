// max_pool2d_forward, max_pool2d_backward, avg_pool2d_forward, avg_pool2d_backward: tap by tap.

#include <cmath>
#include <limits>

#include "core/kernels/pool.h"
#include "tests/common/hash_weights.h"
#include "tests/kernels/case.h"

namespace sked::test {
namespace {

constexpr Tolerance kSums{1e-6, "sums of up to 225 gradients"};
constexpr Tolerance kMeans{2e-6, "means of up to 225 numbers"};
constexpr Tolerance kMeansOnGpu{1e-6, kMeans.reason, 1};

struct Problem {
  int64_t N, H, W, C;
  Window window;

  Shape x() const { return {N, H, W, C}; }
  Shape y() const { return {N, window.output(H), window.output(W), C}; }
  double area() const { return static_cast<double>(window.kernel * window.kernel); }
  std::string str() const {
    return x().str() + " by " + std::to_string(window.kernel) + "/" + std::to_string(window.stride);
  }

  /// f(output index, input index, tap) for every element of every window, in the order of the taps.
  template <class F>
  void for_each_tap(F&& f) const {
    const int64_t P = window.output(H), Q = window.output(W), k = window.kernel;
    for (int64_t n = 0; n < N; ++n)
      for (int64_t p = 0; p < P; ++p)
        for (int64_t q = 0; q < Q; ++q)
          for (int64_t r = 0; r < k; ++r)
            for (int64_t s = 0; s < k; ++s) {
              const int64_t h = p * window.stride + r - window.padding, w = q * window.stride + s - window.padding;
              if (h < 0 || h >= H || w < 0 || w >= W) continue;
              for (int64_t c = 0; c < C; ++c)
                f(((n * P + p) * Q + q) * C + c, ((n * H + h) * W + w) * C + c, r * k + s);
            }
  }

  /// The first maximum of each window, or the last NaN, and its tap.
  ValueLists maxima(const Values& x) const {
    Values y(static_cast<size_t>(this->y().numel())), which(y.size(), -1);
    for_each_tap([&](int64_t yi, int64_t xi, int64_t tap) {
      const bool larger = std::isnan(x[xi]) || x[xi] > y[yi];
      if (which[yi] >= 0 && !larger) return;
      y[yi] = x[xi];
      which[yi] = static_cast<double>(tap);
    });
    return {y, which};
  }
};

KernelCase max_forward(const Problem& p, const Tensor& x) {
  return case_of(kernel::max_pool2d_forward, p.str(), {x}, {unset(p.y()), unset(p.y(), DType::u8)}, p.window)
      .gives([p](const auto& in, const auto&) { return p.maxima(in[0]); }, kExact)
      .stored_in_bf16({0}, {0});
}

void add_backward_of_max(KernelCases& cases, const Problem& p, const Tensor& x) {
  const Tensor which = saved(p.maxima(x.to_vector<double>())[1], p.y()).to(DType::u8);
  cases.push_back(
      case_of(kernel::max_pool2d_backward, p.str(), {hash_tensor(p.y(), 2), which}, {unset(p.x())}, p.window)
          .gives(
              [p](const auto& in, const auto&) {
                Values dx(static_cast<size_t>(p.x().numel()));
                p.for_each_tap([&](int64_t yi, int64_t xi, int64_t tap) {
                  if (in[1][yi] == static_cast<double>(tap)) dx[xi] += in[0][yi];
                });
                return ValueLists{dx};
              },
              kSums)
          .stored_in_bf16({0}, {0}));
}

/// Padding counts as zeros.
void add_averages(KernelCases& cases, const Problem& p, const Tensor& x) {
  cases.push_back(case_of(kernel::avg_pool2d_forward, p.str(), {x}, {unset(p.y())}, p.window)
                      .gives(
                          [p](const auto& in, const auto&) {
                            Values y(static_cast<size_t>(p.y().numel()));
                            p.for_each_tap([&](int64_t yi, int64_t xi, int64_t) { y[yi] += in[0][xi] / p.area(); });
                            return ValueLists{y};
                          },
                          kMeans)
                      .on_gpu(kMeansOnGpu)
                      .stored_in_bf16({0}, {0}));
  cases.push_back(case_of(kernel::avg_pool2d_backward, p.str(), {hash_tensor(p.y(), 1)}, {unset(p.x())}, p.window)
                      .gives(
                          [p](const auto& in, const auto&) {
                            Values dx(static_cast<size_t>(p.x().numel()));
                            p.for_each_tap([&](int64_t yi, int64_t xi, int64_t) { dx[xi] += in[0][yi] / p.area(); });
                            return ValueLists{dx};
                          },
                          kMeans)
                      .on_gpu(kMeansOnGpu)
                      .stored_in_bf16({0}, {0}));
}

const Problem kProblems[] = {
    {1, 1, 1, 1, {1, 1, 0}},
    {2, 6, 8, 3, {2, 2, 0}},
    {2, 7, 5, 17, {3, 2, 1}},
    {1, 5, 5, 2, {3, 1, 1}},
    {1, 9, 9, 4, {5, 3, 4}},
    {1, 15, 15, 2, {15, 1, 7}},
    {3, 8, 8, 64, {8, 8, 0}},
    {0, 4, 4, 3, {2, 2, 0}},
    {2, 7, 8, 5, {1, 2, 0}},
    // on the GPU packs of channels, in f32 alone or in bf16 too
    {2, 11, 9, 64, {3, 2, 1}},
    {3, 6, 7, 24, {2, 1, 1}},
    {1, 9, 10, 12, {3, 1, 2}},
    {2, 15, 5, 8, {4, 5, 0}},
    {2, 3, 3, 16, {3, 3, 0}},
    {2, 4, 4, 0, {2, 2, 0}},
    // 64-bit offsets
    {2, 5, 4, 8, {3, int64_t{1} << 40, 1}},
    {2, 5, 4, 3, {3, int64_t{1} << 40, 1}},
};

/// Values on a grid of five, so that windows hold ties.
Tensor tied(const Shape& shape) {
  Tensor x = hash_tensor(shape, 1, 2.49f);
  for (int64_t i = 0; i < x.numel(); ++i) x.data<float>()[i] = std::round(x.data<float>()[i]);
  return x;
}

/// −∞ everywhere and NaN anywhere are seen, by packs and alone.
void add_ends(KernelCases& cases) {
  constexpr float inf = std::numeric_limits<float>::infinity();
  Tensor low = Tensor::full({1, 2, 4, 1}, -inf);
  low.data<float>()[6] = std::nanf("");
  cases.push_back(max_forward({1, 2, 4, 1, {2, 2, 0}}, low));
  for (const int64_t C : {3, 8}) {
    const Problem p{2, 7, 6, C, {3, 2, 1}};
    Tensor x = hash_tensor(p.x(), 1);
    for (int64_t i = 0; i < x.numel(); i += 11) x.data<float>()[i] = i % 3 == 0 ? -inf : std::nanf("");
    cases.push_back(max_forward(p, x));
  }
}

void add_refusals(KernelCases& cases) {
  const Tensor x = Tensor::zeros({1, 4, 4, 2}), y = Tensor::empty({1, 2, 2, 2}), wrong = Tensor::empty({1, 2, 2, 3});
  const Tensor which = Tensor::zeros({1, 2, 2, 2}, DType::u8);
  const Window window{2, 2, 0};
  const auto max = [&](const Tensor& out, const Tensor& taps, const Window& by, std::vector<std::string> words) {
    cases.push_back(case_of(kernel::max_pool2d_forward, "refused", {x}, {out, taps}, by).is_refused(std::move(words)));
  };
  max(wrong, which, window, {"(1, 2, 2, 2)", "(1, 2, 2, 3)"});
  max(y, wrong, window, {"which"});
  max(y, which, {16, 1, 8}, {"[", "kernel <= 15", "16"});
  max(y, which, {2, 2, 2}, {"[", "padding < kernel"});
  cases.push_back(case_of(kernel::max_pool2d_backward, "refused", {wrong, which}, {x}, window).is_refused());
  cases.push_back(case_of(kernel::avg_pool2d_forward, "refused", {x}, {wrong}, window).is_refused());
  cases.push_back(case_of(kernel::avg_pool2d_backward, "refused", {wrong}, {x}, window).is_refused());
}

}  // namespace

KernelCases pool_cases() {
  KernelCases cases;
  for (const Problem& p : kProblems) {
    const Tensor x = hash_tensor(p.x(), 1);
    for (const Tensor& values : {x, tied(p.x())}) cases.push_back(max_forward(p, values));
    add_backward_of_max(cases, p, x);
    add_averages(cases, p, x);
  }
  add_ends(cases);
  add_refusals(cases);
  return cases;
}

}  // namespace sked::test
