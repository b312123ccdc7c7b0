// max_pool2d_forward, max_pool2d_backward, avg_pool2d_forward, avg_pool2d_backward against their definitions written
// out in double.

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "core/kernels/pool.h"
#include "tests/common/files.h"
#include "tests/common/hash_weights.h"
#include "tests/common/kernel_check.h"

namespace sked::test {
namespace {

struct Problem {
  int64_t N, H, W, C;
  Window window;
};

const std::vector<Problem> kProblems = {
    {1, 1, 1, 1, {1, 1, 0}},  {2, 6, 8, 3, {2, 2, 0}}, {2, 7, 5, 17, {3, 2, 1}},
    {1, 5, 5, 2, {3, 1, 1}},  {1, 9, 9, 4, {5, 3, 4}}, {1, 15, 15, 2, {15, 1, 7}},
    {3, 8, 8, 64, {8, 8, 0}}, {0, 4, 4, 3, {2, 2, 0}}, {2, 7, 8, 5, {1, 2, 0}},
};

/// f(output index, input index, tap) for every element of every window, in the order of the taps.
template <class F>
void for_each_tap(const Problem& p, F&& f) {
  const int64_t P = p.window.output(p.H), Q = p.window.output(p.W), k = p.window.kernel;
  for (int64_t n = 0; n < p.N; ++n)
    for (int64_t y = 0; y < P; ++y)
      for (int64_t x = 0; x < Q; ++x)
        for (int64_t r = 0; r < k; ++r)
          for (int64_t s = 0; s < k; ++s) {
            const int64_t h = y * p.window.stride + r - p.window.padding,
                          w = x * p.window.stride + s - p.window.padding;
            if (h < 0 || h >= p.H || w < 0 || w >= p.W) continue;
            for (int64_t c = 0; c < p.C; ++c)
              f(static_cast<size_t>(((n * P + y) * Q + x) * p.C + c),
                static_cast<size_t>(((n * p.H + h) * p.W + w) * p.C + c), r * k + s);
          }
}

Shape output_shape(const Problem& p) { return {p.N, p.window.output(p.H), p.window.output(p.W), p.C}; }

struct MaxPool {
  std::vector<double> y;
  std::vector<uint8_t> which;
  std::vector<size_t> source;

  MaxPool(const Problem& p, const std::vector<double>& x)
      : y(static_cast<size_t>(output_shape(p).numel()), -std::numeric_limits<double>::infinity()),
        which(y.size(), 255),
        source(y.size()) {
    for_each_tap(p, [&](size_t yi, size_t xi, int64_t tap) {
      if (which[yi] != 255 && !(x[xi] > y[yi])) return;
      y[yi] = x[xi];
      which[yi] = static_cast<uint8_t>(tap);
      source[yi] = xi;
    });
  }
};

/// Values on a grid of five, so that windows hold ties.
Tensor tied(const Shape& shape) {
  Tensor x = hash_tensor(shape, 1, 2.49f);
  for (int64_t i = 0; i < x.numel(); ++i) x.data<float>()[i] = std::round(x.data<float>()[i]);
  return x;
}

TEST_CASE("max_pool2d_forward: the first maximum of each window, ties included") {
  for (const Problem& p : kProblems)
    for (const bool ties : {false, true}) {
      const Tensor x = ties ? tied({p.N, p.H, p.W, p.C}) : hash_tensor({p.N, p.H, p.W, p.C}, 1);
      const MaxPool expected(p, x.to_vector<double>());
      check_kernel({.name = "max_pool2d_forward " + x.str(),
                    .inputs = {x},
                    .expected = {doubles(expected.y, output_shape(p)), Tensor::from(expected.which, output_shape(p))},
                    .call = [&](const TensorList& in,
                                TensorList& out) { kernel::max_pool2d_forward(in[0], out[0], out[1], p.window); },
                    .tolerance = 0});
    }
}

TEST_CASE("max_pool2d_forward: −∞ everywhere and NaN anywhere are seen") {
  const float inf = std::numeric_limits<float>::infinity();
  Tensor x = Tensor::full({1, 2, 4, 1}, -inf), y = Tensor::empty({1, 1, 2, 1}),
         which = Tensor::empty(y.shape(), DType::u8);
  x.data<float>()[6] = std::nanf("");
  kernel::max_pool2d_forward(x, y, which, {2, 2, 0});
  CHECK(y.to_vector<float>()[0] == -inf);
  CHECK(which.to_vector<uint8_t>()[0] == 0);
  CHECK(std::isnan(y.to_vector<float>()[1]));
  CHECK(which.to_vector<uint8_t>()[1] == 2);
}

TEST_CASE("max_pool2d_backward: the gradient goes to the maximum alone") {
  for (const Problem& p : kProblems) {
    const Tensor x = hash_tensor({p.N, p.H, p.W, p.C}, 1), dy = hash_tensor(output_shape(p), 2);
    const MaxPool pool(p, x.to_vector<double>());
    const auto g = dy.to_vector<double>();
    std::vector<double> dx(static_cast<size_t>(x.numel()));
    for (size_t i = 0; i < g.size(); ++i) dx[pool.source[i]] += g[i];
    check_kernel({.name = "max_pool2d_backward " + x.str(),
                  .inputs = {dy, Tensor::from(pool.which, output_shape(p))},
                  .expected = {doubles(dx, x.shape())},
                  .call = [&](const TensorList& in,
                              TensorList& out) { kernel::max_pool2d_backward(in[0], in[1], out[0], p.window); },
                  .tolerance = 1e-6});  // sums of up to 225 gradients
  }
}

TEST_CASE("avg_pool2d_forward: the mean with padding as zeros") {
  for (const Problem& p : kProblems) {
    const Tensor x = hash_tensor({p.N, p.H, p.W, p.C}, 1);
    const auto in = x.to_vector<double>();
    std::vector<double> y(static_cast<size_t>(output_shape(p).numel()));
    const double area = static_cast<double>(p.window.kernel * p.window.kernel);
    for_each_tap(p, [&](size_t yi, size_t xi, int64_t) { y[yi] += in[xi] / area; });
    check_kernel({.name = "avg_pool2d_forward " + x.str(),
                  .inputs = {x},
                  .expected = {doubles(y, output_shape(p))},
                  .call = [&](const TensorList& list,
                              TensorList& out) { kernel::avg_pool2d_forward(list[0], out[0], p.window); },
                  .tolerance = 2e-6});  // means of up to 225 numbers
  }
}

TEST_CASE("avg_pool2d_backward: every element of a window gets its share") {
  for (const Problem& p : kProblems) {
    const Tensor dy = hash_tensor(output_shape(p), 1);
    const auto g = dy.to_vector<double>();
    const Shape shape{p.N, p.H, p.W, p.C};
    std::vector<double> dx(static_cast<size_t>(shape.numel()));
    const double area = static_cast<double>(p.window.kernel * p.window.kernel);
    for_each_tap(p, [&](size_t yi, size_t xi, int64_t) { dx[xi] += g[yi] / area; });
    check_kernel(
        {.name = "avg_pool2d_backward " + dy.str(),
         .inputs = {dy},
         .expected = {doubles(dx, shape)},
         .call = [&](const TensorList& in, TensorList& out) { kernel::avg_pool2d_backward(in[0], out[0], p.window); },
         .tolerance = 2e-6});
  }
}

TEST_CASE(
    "max_pool2d_forward, max_pool2d_backward, avg_pool2d_forward, avg_pool2d_backward: wrong shapes and windows") {
  Tensor x = Tensor::zeros({1, 4, 4, 2}), y = Tensor::empty({1, 2, 2, 2}),
         which = Tensor::empty({1, 2, 2, 2}, DType::u8);
  Tensor wrong = Tensor::empty({1, 2, 2, 3});
  CHECK(one_line_with(error_of([&] {
                        kernel::max_pool2d_forward(x, wrong, which, {2, 2, 0});
                      }),
                      "[max_pool2d_forward]", "(1, 2, 2, 2)", "(1, 2, 2, 3)"));
  CHECK(one_line_with(error_of([&] {
                        kernel::max_pool2d_forward(x, y, wrong, {2, 2, 0});
                      }),
                      "[max_pool2d_forward]", "which"));
  CHECK(one_line_with(error_of([&] { kernel::max_pool2d_forward(x, y, which, {16, 1, 8}); }), "kernel <= 15", "16"));
  CHECK(one_line_with(error_of([&] { kernel::max_pool2d_forward(x, y, which, {2, 2, 2}); }), "padding < kernel"));
  CHECK(one_line_with(error_of([&] {
                        kernel::max_pool2d_backward(wrong, which, x, {2, 2, 0});
                      }),
                      "[max_pool2d_backward]"));
  CHECK(one_line_with(error_of([&] { kernel::avg_pool2d_forward(x, wrong, {2, 2, 0}); }), "[avg_pool2d_forward]"));
  CHECK(one_line_with(error_of([&] { kernel::avg_pool2d_backward(wrong, x, {2, 2, 0}); }), "[avg_pool2d_backward]"));
}

}  // namespace
}  // namespace sked::test
