// matmul, linear_forward, linear_backward_input, _activation and _weight against sums written out in double.

#include "core/kernels/matmul.h"

#include <doctest/doctest.h>

#include <cmath>

#include "core/precision.h"
#include "tests/common/files.h"
#include "tests/common/hash_weights.h"
#include "tests/common/in_bf16.h"
#include "tests/common/kernel_check.h"

namespace sked::test {
namespace {

// Rounding grows with the length of a sum: at most 400 terms of size ≤ 1 here, observed below 1e-6 of the largest
// result.
constexpr double kTolerance = 4e-6;

/// c[n,i,j] = Σ_q a b [+ before], for row-major batches; a transposed operand is stored the other way round.
std::vector<double> product(const std::vector<double>& a, const std::vector<double>& b, int64_t batch, int64_t M,
                            int64_t N, int64_t Q, bool ta, bool tb, bool shared_b) {
  std::vector<double> c(static_cast<size_t>(batch * M * N));
  for (int64_t n = 0; n < batch; ++n)
    for (int64_t i = 0; i < M; ++i)
      for (int64_t j = 0; j < N; ++j) {
        double sum = 0;
        for (int64_t q = 0; q < Q; ++q) {
          const int64_t at = n * M * Q + (ta ? q * M + i : i * Q + q);
          const int64_t bt = (shared_b ? 0 : n * Q * N) + (tb ? j * Q + q : q * N + j);
          sum += a[static_cast<size_t>(at)] * b[static_cast<size_t>(bt)];
        }
        c[static_cast<size_t>((n * M + i) * N + j)] = sum;
      }
  return c;
}

void check_matmul(int64_t batch, int64_t M, int64_t N, int64_t Q, bool ta, bool tb, bool shared_b, bool accumulate) {
  const Tensor a = hash_tensor(ta ? Shape{batch, Q, M} : Shape{batch, M, Q}, 1);
  const Shape matrix = tb ? Shape{N, Q} : Shape{Q, N};
  const Tensor b = hash_tensor(shared_b ? matrix : Shape{batch, matrix[0], matrix[1]}, 2);
  const Tensor before = hash_tensor({batch, M, N}, 3);
  std::vector<double> c = product(a.to_vector<double>(), b.to_vector<double>(), batch, M, N, Q, ta, tb, shared_b);
  const std::vector<double> start = before.to_vector<double>();
  for (size_t i = 0; accumulate && i < c.size(); ++i) c[i] += start[i];
  check_kernel(
      {.name = "matmul " + a.str() + (ta ? "ᵀ" : "") + " × " + b.str() + (tb ? "ᵀ" : "") + (accumulate ? " +" : ""),
       .inputs = {a, b},
       .expected = {doubles(c, {batch, M, N})},
       .call = [=](const TensorList& in, TensorList& out) { kernel::matmul(in[0], in[1], out[0], ta, tb, accumulate); },
       .tolerance = kTolerance,
       .before = accumulate ? TensorList{before} : TensorList{}});
}

TEST_CASE("matmul: every transposition, batch, shared operand and accumulation, over odd sizes") {
  const int64_t sizes[][4] = {{1, 1, 1, 1},   {1, 7, 5, 3},   {3, 17, 1, 29},   {2, 1, 33, 64},
                              {1, 65, 31, 1}, {4, 13, 19, 2}, {1, 200, 70, 300}};
  for (const auto& [batch, M, N, Q] : sizes)
    for (const int mode : {0, 1, 2, 3})
      for (const bool shared : {false, true})
        for (const bool accumulate : {false, true})
          check_matmul(batch, M, N, Q, mode & 1, mode & 2, shared, accumulate);
}

TEST_CASE("matmul: nothing to add gives zeros, nothing to compute gives nothing") {
  for (const bool transposed : {false, true}) {
    check_matmul(2, 3, 4, 0, transposed, transposed, false, false);
    check_matmul(2, 3, 4, 0, transposed, transposed, false, true);
    check_matmul(2, 0, 4, 5, transposed, transposed, false, false);
    check_matmul(0, 3, 4, 5, transposed, transposed, true, false);
  }
}

TEST_CASE("matmul: shapes that do not fit are refused with their values") {
  Tensor c = Tensor::empty({2, 4});
  const auto message = [&](const Tensor& a, const Tensor& b, bool ta, bool tb) {
    return error_of([&] { kernel::matmul(a, b, c, ta, tb, false); });
  };
  CHECK(one_line_with(message(Tensor::zeros({2, 3}), Tensor::zeros({5, 4}), false, false), "[matmul]", "(2, 3)",
                      "(5, 4)"));
  CHECK(one_line_with(message(Tensor::zeros({2, 3}), Tensor::zeros({3, 4}), true, false), "[matmul]", "transposed"));
  CHECK(one_line_with(message(Tensor::zeros({2}), Tensor::zeros({3, 4}), false, false), "[matmul]"));
  CHECK(one_line_with(message(Tensor::zeros({2, 3}, DType::f64), Tensor::zeros({3, 4}), false, false), "[matmul]",
                      "f64"));
}

double activated(double z, Activation act) {
  if (act == Activation::relu) return z > 0 ? z : 0;
  if (act == Activation::gelu_tanh)
    return 0.5 * z * (1 + std::tanh(std::sqrt(2 / std::acos(-1.0)) * (z + 0.044715 * z * z * z)));
  return act == Activation::gelu ? 0.5 * z * (1 + std::erf(z / std::sqrt(2.0))) : z;
}

void check_linear(int64_t N, int64_t I, int64_t O, bool bias, bool keep, Activation act) {
  const Tensor x = hash_tensor({N, I}, 1), w = hash_tensor({O, I}, 2), b = bias ? hash_tensor({O}, 3) : Tensor();
  std::vector<double> pre = product(x.to_vector<double>(), w.to_vector<double>(), 1, N, O, I, false, true, false),
                      y(pre);
  const std::vector<double> shift = bias ? b.to_vector<double>() : std::vector<double>(static_cast<size_t>(O));
  for (size_t i = 0; i < y.size(); ++i) {
    pre[i] += shift[i % static_cast<size_t>(O)];
    y[i] = activated(pre[i], act);
  }
  check_kernel({.name = "linear_forward " + x.str() + " to " + std::to_string(O) + " " + name(act),
                .inputs = {x, w, b},
                .expected = {doubles(y, {N, O}), keep ? doubles(pre, {N, O}) : Tensor()},
                .call = [=](const TensorList& in,
                            TensorList& out) { kernel::linear_forward(in[0], in[1], in[2], out[0], out[1], act); },
                .tolerance = kTolerance});
}

TEST_CASE("linear_forward: with and without bias, activation and kept pre-activation") {
  const int64_t sizes[][3] = {{1, 1, 1},      {3, 5, 7}, {64, 100, 10}, {33, 1, 48},
                              {130, 257, 65}, {0, 3, 4}, {257, 48, 32}};
  for (const auto& [N, I, O] : sizes)
    for (const bool bias : {false, true}) {
      check_linear(N, I, O, bias, false, Activation::none);
      for (const bool keep : {false, true})
        for (const Activation act : {Activation::relu, Activation::gelu, Activation::gelu_tanh})
          check_linear(N, I, O, bias, keep, act);
    }
}

TEST_CASE("linear_backward_input: dx = dy w") {
  const int64_t sizes[][3] = {{1, 1, 1}, {3, 5, 7}, {64, 100, 10}, {130, 257, 65}, {0, 3, 4}, {257, 48, 32}};
  for (const auto& [N, I, O] : sizes) {
    const Tensor dy = hash_tensor({N, O}, 1), w = hash_tensor({O, I}, 2);
    const auto dx = product(dy.to_vector<double>(), w.to_vector<double>(), 1, N, I, O, false, false, false);
    check_kernel(
        {.name = "linear_backward_input " + dy.str(),
         .inputs = {dy, w},
         .expected = {doubles(dx, {N, I})},
         .call = [](const TensorList& in, TensorList& out) { kernel::linear_backward_input(in[0], in[1], out[0]); },
         .tolerance = kTolerance});
  }
}

TEST_CASE("linear_backward_activation: dx = (dy w) act'(pre), db = Σ dx") {
  const int64_t sizes[][3] = {{1, 1, 1}, {3, 5, 7}, {64, 100, 10}, {130, 257, 65}, {0, 3, 4}};
  for (const auto& [N, I, O] : sizes)
    for (const Activation act : {Activation::relu, Activation::gelu, Activation::gelu_tanh})
      for (const bool bias : {false, true}) {
        const Tensor dy = hash_tensor({N, O}, 1), w = hash_tensor({O, I}, 2), pre = hash_tensor({N, I}, 3);
        std::vector<double> dx =
            product(dy.to_vector<double>(), w.to_vector<double>(), 1, N, I, O, false, false, false);
        std::vector<double> db(static_cast<size_t>(I));
        const std::vector<double> z = pre.to_vector<double>();
        for (size_t i = 0; i < dx.size(); ++i) {
          constexpr double kStep = 1e-6;  // no |z| is smaller, where ReLU has its kink
          dx[i] *= (activated(z[i] + kStep, act) - activated(z[i] - kStep, act)) / (2 * kStep);
          db[i % static_cast<size_t>(I)] += dx[i];
        }
        Tensor got = Tensor::empty({N, I}), sums = bias ? Tensor::empty({I}) : Tensor();
        for (const bool reference : {false, true}) {
          const bool before = ReferenceOnly::active();
          ReferenceOnly::active() = reference;
          kernel::linear_backward_activation(dy, w, pre, got, sums, act);
          ReferenceOnly::active() = before;
          const std::string what = std::string("linear_backward_activation ") + dy.str() + " " + name(act);
          check_close(what, got, doubles(dx, {N, I}), kTolerance);
          if (bias) check_close(what + ", db", sums, doubles(db, {I}), kTolerance);
        }
      }
}

TEST_CASE("linear_backward_weight: dw = dyᵀ x, db = Σ dy") {
  const int64_t sizes[][3] = {{1, 1, 1}, {3, 5, 7}, {64, 100, 10}, {400, 37, 65}, {0, 3, 4}};
  for (const auto& [N, I, O] : sizes)
    for (const bool bias : {false, true}) {
      const Tensor dy = hash_tensor({N, O}, 1), x = hash_tensor({N, I}, 2);
      const auto dw = product(dy.to_vector<double>(), x.to_vector<double>(), 1, O, I, N, true, false, false);
      const auto db = product(std::vector<double>(static_cast<size_t>(N), 1.0), dy.to_vector<double>(), 1, 1, O, N,
                              false, false, false);
      check_kernel({.name = "linear_backward_weight " + dy.str(),
                    .inputs = {dy, x},
                    .expected = {doubles(dw, {O, I}), bias ? doubles(db, {O}) : Tensor()},
                    .call = [](const TensorList& in,
                               TensorList& out) { kernel::linear_backward_weight(in[0], in[1], out[0], out[1]); },
                    .tolerance = kTolerance});
    }
}

TEST_CASE("linear_forward, linear_backward_input, linear_backward_weight: wrong shapes are refused") {
  Tensor y = Tensor::empty({2, 4}), none, small = Tensor::empty({2});
  const Tensor x = Tensor::zeros({2, 3}), w = Tensor::zeros({4, 3});
  for (const bool reference : {false, true}) {
    const auto outer = ReferenceOnly::active();
    ReferenceOnly::active() = reference;
    CHECK(one_line_with(error_of([&] {
                          kernel::linear_forward(x, Tensor::zeros({4, 5}), none, y, none, Activation::none);
                        }),
                        "[linear_forward]", "(2, 3)", "(4, 5)"));
    CHECK(one_line_with(error_of([&] { kernel::linear_forward(x, w, small, y, none, Activation::none); }),
                        "[linear_forward]", "bias", "(4)", "(2)"));
    CHECK(one_line_with(error_of([&] { kernel::linear_forward(x, w, none, y, small, Activation::relu); }),
                        "[linear_forward]", "pre"));
    CHECK(one_line_with(error_of([&] { kernel::linear_backward_input(y, w, small); }), "[linear_backward_input]"));
    CHECK(one_line_with(error_of([&] { kernel::linear_backward_activation(y, w, y, small, none, Activation::relu); }),
                        "[linear_backward_activation]"));
    CHECK(one_line_with(error_of([&] { kernel::linear_backward_weight(y, x, small, none); }),
                        "[linear_backward_weight]"));
    ReferenceOnly::active() = outer;
  }
}

TEST_CASE("matmul: of factors in bf16 into f32, not rounded again") {
  const Tensor a = rounded(hash_tensor({5, 7}, 1)), b = rounded(hash_tensor({7, 3}, 2));
  Tensor want = hash_tensor({5, 3}, 3), got = want.clone();
  kernel::matmul(a, b, want, false, false, true);
  kernel::matmul(a.to(DType::bf16), b.to(DType::bf16), got, false, false, true);
  CHECK(got.to_vector<float>() == want.to_vector<float>());
  CHECK(got.to_vector<float>() != rounded(want).to_vector<float>());
}

TEST_CASE("matmul, linear: in bf16 they are the products of rounded factors") {
  if (!offers(Device::cpu, Precision::bf16)) return skip("products in bf16: this processor has no instructions for it");
  // Products of two bf16 numbers are exact in f32; sums round as ever.
  const InBf16 on;
  const int64_t sizes[][4] = {{1, 64, 48, 96}, {3, 17, 5, 29}, {1, 300, 70, 200}, {1, 1, 33, 64}};
  for (const auto& [batch, M, N, Q] : sizes)
    for (const bool ta : {false, true})
      for (const bool tb : {false, true})
        for (const bool accumulate : {false, true}) {
          const Tensor a = hash_tensor(ta ? Shape{batch, Q, M} : Shape{batch, M, Q}, 1).to(DType::f32);
          const Tensor b = hash_tensor(tb ? Shape{batch, N, Q} : Shape{batch, Q, N}, 2).to(DType::f32);
          Tensor c = Tensor::full({batch, M, N}, 0.5);
          std::vector<double> expected =
              product(rounded(a).to_vector<double>(), rounded(b).to_vector<double>(), batch, M, N, Q, ta, tb, false);
          if (accumulate)
            for (double& value : expected) value += 0.5;
          kernel::matmul(a, b, c, ta, tb, accumulate);
          check_close("matmul in bf16", c, doubles(expected, {batch, M, N}), kTolerance);
        }
  const Tensor x = hash_tensor({40, 96}, 3).to(DType::f32), w = hash_tensor({24, 96}, 4).to(DType::f32);
  Tensor y = Tensor::empty({40, 24}), none;
  kernel::linear_forward(x, w, {}, y, none, Activation::none);
  check_close("linear in bf16", y,
              doubles(product(rounded(x).to_vector<double>(), rounded(w).to_vector<double>(), 1, 40, 24, 96, false,
                              true, false),
                      {40, 24}),
              kTolerance);
}

}  // namespace
}  // namespace sked::test
