// conv2d_forward, conv2d_backward_input, conv2d_backward_weight against the sums of core/kernels/conv.h written out in
// double.

#include "core/kernels/conv.h"

#include <doctest/doctest.h>

#include "tests/common/files.h"
#include "tests/common/hash_weights.h"
#include "tests/common/in_bf16.h"
#include "tests/common/kernel_check.h"

namespace sked::test {
namespace {

// Sums of up to 9·64 (forward) or 2·15·15 (weights) products of size ≤ 1; observed below 1e-6 of the largest result.
constexpr double kTolerance = 4e-6;

struct Problem {
  int64_t N, H, W, I, O;
  Window window;
};

// The last four are ResNeXt's: 32 groups of 4 channels, 4 of 16 and of 20.
const std::vector<Problem> kProblems = {
    {1, 1, 1, 1, 1, {1, 1, 0, 1}},      {2, 5, 7, 3, 4, {3, 1, 1, 1}},      {2, 5, 7, 3, 5, {3, 2, 1, 1}},
    {1, 8, 6, 17, 16, {1, 1, 0, 1}},    {2, 7, 7, 5, 3, {1, 2, 0, 1}},      {1, 6, 6, 16, 32, {3, 2, 0, 1}},
    {2, 4, 4, 6, 4, {3, 1, 1, 2}},      {1, 5, 5, 8, 8, {3, 1, 1, 8}},      {1, 9, 9, 3, 8, {4, 4, 0, 1}},
    {1, 3, 3, 2, 3, {5, 1, 3, 1}},      {2, 15, 15, 64, 16, {3, 1, 1, 1}},  {3, 9, 11, 13, 7, {7, 2, 3, 1}},
    {0, 4, 4, 3, 2, {3, 1, 1, 1}},      {1, 1, 1, 16, 16, {3, 1, 1, 1}},    {2, 7, 6, 17, 19, {3, 1, 1, 1}},
    {9, 9, 8, 16, 24, {3, 1, 1, 1}},    {2, 8, 8, 4, 8, {1, 2, 0, 1}},      {2, 8, 8, 16, 8, {1, 2, 0, 1}},
    {2, 9, 8, 128, 128, {3, 1, 1, 32}}, {2, 9, 8, 128, 128, {3, 2, 1, 32}}, {1, 7, 7, 64, 64, {3, 1, 1, 4}},
    {1, 7, 7, 80, 80, {3, 2, 1, 4}},
};

struct Tensors {
  Tensor x, w, b, dy;
};

Tensors tensors(const Problem& p) {
  const int64_t k = p.window.kernel;
  return {hash_tensor({p.N, p.H, p.W, p.I}, 1), hash_tensor({p.O, p.I / p.window.groups, k, k}, 2),
          hash_tensor({p.O}, 3), hash_tensor({p.N, p.window.output(p.H), p.window.output(p.W), p.O}, 4)};
}

std::string describe(const Problem& p) {
  const Tensors t = tensors(p);
  return t.x.str() + " * " + t.w.str() + ", stride " + std::to_string(p.window.stride) + ", padding " +
         std::to_string(p.window.padding) + ", groups " + std::to_string(p.window.groups);
}

/// f(index in x, in w, in y) for every product that the convolution sums.
template <class F>
void for_each_product(const Problem& p, F&& f) {
  const auto [kernel, stride, padding, groups] = p.window;
  const int64_t P = p.window.output(p.H), Q = p.window.output(p.W), Ig = p.I / groups, Og = p.O / groups;
  for (int64_t n = 0; n < p.N; ++n)
    for (int64_t y = 0; y < P; ++y)
      for (int64_t x = 0; x < Q; ++x)
        for (int64_t o = 0; o < p.O; ++o)
          for (int64_t i = 0; i < Ig; ++i)
            for (int64_t r = 0; r < kernel; ++r)
              for (int64_t s = 0; s < kernel; ++s) {
                const int64_t h = y * stride + r - padding, w = x * stride + s - padding, channel = o / Og * Ig + i;
                if (h < 0 || h >= p.H || w < 0 || w >= p.W) continue;
                f(static_cast<size_t>(((n * p.H + h) * p.W + w) * p.I + channel),
                  static_cast<size_t>(((o * Ig + i) * kernel + r) * kernel + s),
                  static_cast<size_t>(((n * P + y) * Q + x) * p.O + o));
              }
}

TEST_CASE("conv2d_forward: strides, padding, groups, 1×1, no images, with and without bias") {
  for (const Problem& p : kProblems) {
    const Tensors t = tensors(p);
    const auto x = t.x.to_vector<double>(), w = t.w.to_vector<double>(), b = t.b.to_vector<double>();
    for (const bool bias : {false, true}) {
      std::vector<double> y(static_cast<size_t>(t.dy.numel()));
      for (size_t i = 0; bias && i < y.size(); ++i) y[i] = b[i % b.size()];
      for_each_product(p, [&](size_t xi, size_t wi, size_t yi) { y[yi] += x[xi] * w[wi]; });
      check_kernel({.name = "conv2d_forward " + describe(p),
                    .inputs = {t.x, t.w, bias ? t.b : Tensor()},
                    .expected = {doubles(y, t.dy.shape())},
                    .call = [&](const TensorList& in,
                                TensorList& out) { kernel::conv2d_forward(in[0], in[1], in[2], out[0], p.window); },
                    .tolerance = kTolerance});
    }
  }
}

TEST_CASE("conv2d_backward_input: the transposed convolution") {
  for (const Problem& p : kProblems) {
    const Tensors t = tensors(p);
    const auto w = t.w.to_vector<double>(), dy = t.dy.to_vector<double>();
    std::vector<double> dx(static_cast<size_t>(t.x.numel()));
    for_each_product(p, [&](size_t xi, size_t wi, size_t yi) { dx[xi] += dy[yi] * w[wi]; });
    check_kernel({.name = "conv2d_backward_input " + describe(p),
                  .inputs = {t.dy, t.w},
                  .expected = {doubles(dx, t.x.shape())},
                  .call = [&](const TensorList& in,
                              TensorList& out) { kernel::conv2d_backward_input(in[0], in[1], out[0], p.window); },
                  .tolerance = kTolerance});
  }
}

TEST_CASE("conv2d_backward_weight: dw and db, and dw alone") {
  for (const Problem& p : kProblems) {
    const Tensors t = tensors(p);
    const auto x = t.x.to_vector<double>(), dy = t.dy.to_vector<double>();
    std::vector<double> dw(static_cast<size_t>(t.w.numel())), db(static_cast<size_t>(p.O));
    for_each_product(p, [&](size_t xi, size_t wi, size_t yi) { dw[wi] += dy[yi] * x[xi]; });
    for (size_t i = 0; i < dy.size(); ++i) db[i % db.size()] += dy[i];
    for (const bool bias : {false, true})
      check_kernel(
          {.name = "conv2d_backward_weight " + describe(p),
           .inputs = {t.dy, t.x},
           .expected = {doubles(dw, t.w.shape()), bias ? doubles(db, {p.O}) : Tensor()},
           .call = [&](const TensorList& in,
                       TensorList& out) { kernel::conv2d_backward_weight(in[0], in[1], out[0], out[1], p.window); },
           .tolerance = kTolerance});
  }
}

TEST_CASE("conv2d_forward, conv2d_backward_input, conv2d_backward_weight: in bf16 they are sums of rounded factors") {
  if (!offers(Device::cpu, Precision::bf16)) return skip("convolutions in bf16: this processor has no instructions");
  // Products of two bf16 numbers are exact in f32; sums round as ever.
  const InBf16 on;
  for (const Problem& p : kProblems) {
    const auto [exact_x, exact_w, exact_b, exact_dy] = tensors(p);
    const Tensor x = exact_x.to(DType::f32), w = exact_w.to(DType::f32), b = exact_b.to(DType::f32);
    const Tensor dy = exact_dy.to(DType::f32);
    // Left to the definition, in f32 (core/cpu/onednn_conv.cpp says why).
    if (p.window.kernel == 1 && p.window.stride > 1 && p.I % 16 != 0) continue;
    const auto rx = rounded(x).to_vector<double>(), rw = rounded(w).to_vector<double>();
    const auto rdy = rounded(dy).to_vector<double>(), bias = b.to_vector<double>();
    std::vector<double> y(rdy.size()), dx(rx.size()), dw(rw.size()), db(bias.size());
    for (size_t i = 0; i < y.size(); ++i) y[i] = bias[i % bias.size()], db[i % db.size()] += rdy[i];
    for_each_product(p, [&](size_t xi, size_t wi, size_t yi) {
      y[yi] += rx[xi] * rw[wi];
      dx[xi] += rdy[yi] * rw[wi];
      dw[wi] += rdy[yi] * rx[xi];
    });
    Tensor got_y = Tensor::empty(dy.shape()), got_dx = Tensor::empty(x.shape()), got_dw = Tensor::empty(w.shape());
    Tensor got_db = Tensor::empty(b.shape());
    kernel::conv2d_forward(x, w, b, got_y, p.window);
    kernel::conv2d_backward_input(dy, w, got_dx, p.window);
    kernel::conv2d_backward_weight(dy, x, got_dw, got_db, p.window);
    const std::string name = " in bf16, " + describe(p);
    check_close("conv2d_forward" + name, got_y, doubles(y, dy.shape()), kTolerance);
    check_close("conv2d_backward_input" + name, got_dx, doubles(dx, x.shape()), kTolerance);
    check_close("conv2d_backward_weight" + name, got_dw, doubles(dw, w.shape()), kTolerance);
    check_close("conv2d_backward_weight, db" + name, got_db, doubles(db, b.shape()), kTolerance);
  }
}

TEST_CASE("conv2d_forward, conv2d_backward_input, conv2d_backward_weight: wrong shapes are refused") {
  Tensor y = Tensor::empty({2, 5, 5, 4}), none;
  Tensor x = Tensor::zeros({2, 5, 5, 3}), w = Tensor::zeros({4, 3, 3, 3});
  const Window window{3, 1, 1, 1};
  const auto message = [&](const Tensor& input, const Tensor& filters, const Tensor& bias, const Window& win) {
    return error_of([&] { kernel::conv2d_forward(input, filters, bias, y, win); });
  };
  CHECK(one_line_with(message(Tensor::zeros({5, 5, 3}), w, none, window), "[conv2d_forward]", "(5, 5, 3)"));
  CHECK(one_line_with(message(x, Tensor::zeros({4, 2, 3, 3}), none, window), "[conv2d_forward]", "(4, 2, 3, 3)"));
  CHECK(one_line_with(message(x, w, Tensor::zeros({3}), window), "[conv2d_forward]", "bias"));
  CHECK(one_line_with(message(x, w, none, {3, 1, 1, 2}), "[conv2d_forward]", "groups"));
  CHECK(one_line_with(message(x, w, none, {3, 0, 1, 1}), "stride"));
  CHECK(one_line_with(message(x, w, none, {3, 2, 1, 1}), "[conv2d_forward]", "y", "(2, 3, 3, 4)"));
  CHECK(one_line_with(message(x, Tensor::zeros({4, 3, 7, 7}), none, {7, 1, 0, 1}), "7", "5"));
  const Tensor ix = Tensor::zeros({2, 5, 5, 3}, DType::i64), iw = Tensor::zeros({4, 3, 3, 3}, DType::i64);
  Tensor iy = Tensor::zeros({2, 5, 5, 4}, DType::i64), idx = ix.clone(), idw = iw.clone();
  CHECK(one_line_with(error_of([&] { kernel::conv2d_forward(ix, iw, none, iy, window); }), "i64"));
  CHECK(one_line_with(error_of([&] { kernel::conv2d_backward_input(iy, iw, idx, window); }), "i64"));
  CHECK(one_line_with(error_of([&] { kernel::conv2d_backward_weight(iy, ix, idw, none, window); }), "i64"));
  CHECK(one_line_with(error_of([&] { kernel::conv2d_backward_input(y, w, y, window); }), "[conv2d_backward_input]"));
  CHECK(one_line_with(error_of([&] { kernel::conv2d_backward_weight(y, x, x, none, window); }),
                      "[conv2d_backward_weight]"));
}

}  // namespace
}  // namespace sked::test
