// matmul, linear_forward, linear_backward_input, linear_backward_activation, linear_backward_weight: sums written out.

#include "core/kernels/matmul.h"

#include <cmath>

#include "tests/common/hash_weights.h"
#include "tests/kernels/activations.h"
#include "tests/kernels/case.h"

namespace sked::test {
namespace {

// Rounding grows with the length of a sum; observed below 1e-6 of the largest result.
constexpr Tolerance kSums{4e-6, "sums of up to 400 products of size 1 at most"};
constexpr Tolerance kOnGpu{1e-5, "sums of up to 400 products of size 1, in whatever order a library takes them", 1};

/// c[n,i,j] = Σ_q a b for row-major batches; a transposed operand is stored the other way round.
struct Product {
  int64_t batch, M, N, Q;
  bool ta = false, tb = false, shared_b = false;

  Values operator()(const Values& a, const Values& b) const {
    Values c(static_cast<size_t>(batch * M * N));
    for (int64_t n = 0; n < batch; ++n)
      for (int64_t i = 0; i < M; ++i)
        for (int64_t j = 0; j < N; ++j) {
          double sum = 0;
          for (int64_t q = 0; q < Q; ++q)
            sum += a[n * M * Q + (ta ? q * M + i : i * Q + q)] *
                   b[(shared_b ? 0 : n * Q * N) + (tb ? j * Q + q : q * N + j)];
          c[(n * M + i) * N + j] = sum;
        }
    return c;
  }
};

/// Σ_n of x (N,width).
Values column_sums(const Values& x, int64_t width) {
  Values sums(static_cast<size_t>(width));
  for (size_t i = 0; i < x.size(); ++i) sums[i % sums.size()] += x[i];
  return sums;
}

void add_matmul(KernelCases& cases, const Product& p, bool accumulate) {
  const Tensor a = hash_tensor(p.ta ? Shape{p.batch, p.Q, p.M} : Shape{p.batch, p.M, p.Q}, 1);
  const Shape matrix = p.tb ? Shape{p.N, p.Q} : Shape{p.Q, p.N}, result{p.batch, p.M, p.N};
  const Tensor b = hash_tensor(p.shared_b ? matrix : Shape{p.batch, matrix[0], matrix[1]}, 2);
  const std::string what = a.str() + (p.ta ? "ᵀ" : "") + " × " + b.str() + (p.tb ? "ᵀ" : "") + (accumulate ? " +" : "");
  cases.push_back(case_of(kernel::matmul, what, {a, b}, {accumulate ? hash_tensor(result, 3) : unset(result)}, p.ta,
                          p.tb, accumulate)
                      .gives(
                          [=](const auto& in, const auto& before) {
                            Values c = p(in[0], in[1]);
                            for (size_t i = 0; accumulate && i < c.size(); ++i) c[i] += before[0][i];
                            return ValueLists{c};
                          },
                          kSums)
                      .on_gpu(kOnGpu)
                      .rounds({0, 1})
                      .stored_in_bf16({0, 1}, accumulate ? Which{} : Which{0}));  // sums in f32, or rounded
}

/// Every transposition, batch, shared operand and accumulation, over odd sizes; nothing to add, nothing to compute.
void add_matmuls(KernelCases& cases) {
  const int64_t sizes[][4] = {{1, 1, 1, 1},    {1, 7, 5, 3},   {3, 17, 1, 29},  {2, 1, 33, 64},
                              {1, 65, 31, 1},  {4, 13, 19, 2}, {4, 64, 32, 16}, {1, 200, 70, 300},
                              {1, 64, 48, 96}, {3, 17, 5, 29}, {1, 1, 33, 64},  {2, 3, 4, 0},
                              {2, 0, 4, 5},    {0, 3, 4, 5},   {1, 260, 48, 32}};  // as a convolution
  for (const auto& [batch, M, N, Q] : sizes)
    for (const int mode : {0, 1, 2, 3})
      for (const bool shared : {false, true})
        for (const bool accumulate : {false, true})
          add_matmul(cases, {batch, M, N, Q, (mode & 1) != 0, (mode & 2) != 0, shared}, accumulate);
}

KernelCase linear_forward(int64_t N, int64_t I, int64_t O, bool bias, bool keep, Activation act) {
  const Tensor x = hash_tensor({N, I}, 1), w = hash_tensor({O, I}, 2), b = bias ? hash_tensor({O}, 3) : Tensor();
  return case_of(kernel::linear_forward, x.str() + " to " + std::to_string(O) + " " + name(act), {x, w, b},
                 {unset({N, O}), keep ? unset({N, O}) : Tensor()}, act)
      .gives(
          [=](const auto& in, const auto&) {
            Values pre = Product{1, N, O, I, false, true}(in[0], in[1]);
            for (size_t i = 0; bias && i < pre.size(); ++i) pre[i] += in[2][i % in[2].size()];
            Values y = pre;
            for (double& v : y) v = value(act, v);
            return ValueLists{y, keep ? pre : Values()};
          },
          kSums)
      .on_gpu(kOnGpu)
      .rounds({0, 1})
      .stored_in_bf16({0, 1, 2}, {0, 1})
      .stored_in_bf16({0}, {0, 1});  // f32 weights
}

KernelCase linear_backward_input(int64_t N, int64_t I, int64_t O) {
  const Tensor dy = hash_tensor({N, O}, 4), w = hash_tensor({O, I}, 2);
  return case_of(kernel::linear_backward_input, dy.str() + w.str(), {dy, w}, {unset({N, I})})
      .gives(
          [=](const auto& in, const auto&) {
            return ValueLists{Product{1, N, I, O}(in[0], in[1])};
          },
          kSums)
      .on_gpu(kOnGpu)
      .rounds({0, 1})
      .stored_in_bf16({0, 1}, {0})
      .stored_in_bf16({0}, {0});
}

KernelCase linear_backward_activation(int64_t N, int64_t I, int64_t O, bool bias, Activation act) {
  const Tensor dy = hash_tensor({N, O}, 4), w = hash_tensor({O, I}, 2), pre = hash_tensor({N, I}, 5);
  return case_of(kernel::linear_backward_activation, dy.str() + w.str() + " " + name(act), {dy, w, pre},
                 {unset({N, I}), bias ? unset({I}) : Tensor()}, act)
      .gives(
          [=](const auto& in, const auto&) {
            Values dx = Product{1, N, I, O}(in[0], in[1]);
            for (size_t i = 0; i < dx.size(); ++i) dx[i] *= slope(act, in[2][i]);
            return ValueLists{dx, bias ? column_sums(dx, I) : Values()};
          },
          kSums)
      .on_gpu(kOnGpu)
      .rounds({0, 1})
      .stored_in_bf16({0, 1, 2}, {0, 1})
      .stored_in_bf16({0, 2}, {0});
}

KernelCase linear_backward_weight(int64_t N, int64_t I, int64_t O, bool bias) {
  const Tensor dy = hash_tensor({N, O}, 4), x = hash_tensor({N, I}, 1);
  return case_of(kernel::linear_backward_weight, dy.str() + x.str(), {dy, x},
                 {unset({O, I}), bias ? unset({O}) : Tensor()})
      .gives(
          [=](const auto& in, const auto&) {
            return ValueLists{Product{1, O, I, N, true}(in[0], in[1]), bias ? column_sums(in[0], O) : Values()};
          },
          kSums)
      .on_gpu(kOnGpu)
      .stored_in_bf16({0, 1}, {0, 1})
      .stored_in_bf16({0, 1}, {});
}

void add_linears(KernelCases& cases) {
  const int64_t sizes[][3] = {{1, 1, 1},     {3, 5, 7},      {64, 100, 10}, {33, 1, 48},  {64, 96, 128},
                              {400, 37, 65}, {130, 257, 65}, {0, 3, 4},     {257, 48, 32}};
  constexpr Activation activations[] = {Activation::relu, Activation::gelu, Activation::gelu_tanh};
  for (const auto& [N, I, O] : sizes) {
    for (const bool bias : {false, true}) {
      cases.push_back(linear_forward(N, I, O, bias, false, Activation::none));
      for (const Activation act : activations) {
        for (const bool keep : {false, true}) cases.push_back(linear_forward(N, I, O, bias, keep, act));
        cases.push_back(linear_backward_activation(N, I, O, bias, act));
      }
      cases.push_back(linear_backward_weight(N, I, O, bias));
    }
    cases.push_back(linear_backward_input(N, I, O));
  }
}

/// A NaN goes through product and activation: what rectifies must not make a 0 of it.
void add_nan(KernelCases& cases) {
  for (const Activation act : {Activation::none, Activation::relu, Activation::gelu, Activation::gelu_tanh})
    for (const bool bias : {false, true}) {
      KernelCase c = linear_forward(64, 96, 128, bias, false, act);
      c.what += " of a NaN";
      c.inputs[0] = c.inputs[0].clone();
      c.inputs[0].data<float>()[5 * 96 + 7] = std::nanf("");
      cases.push_back(c);
    }
}

void add_refusals(KernelCases& cases) {
  const Tensor c = Tensor::empty({2, 4}), small = Tensor::empty({2}), none;
  const Tensor x = Tensor::zeros({2, 3}), w = Tensor::zeros({4, 3}), b = Tensor::zeros({3, 4});
  const auto matmul = [&](const Tensor& left, const Tensor& right, bool ta, std::vector<std::string> words) {
    cases.push_back(
        case_of(kernel::matmul, "refused", {left, right}, {c}, ta, false, false).is_refused(std::move(words)));
  };
  matmul(x, Tensor::zeros({5, 4}), false, {"(2, 3)", "(5, 4)"});
  matmul(x, b, true, {"transposed"});
  matmul(small, b, false, {"[matmul]"});
  matmul(x.to(DType::f64), b, false, {"f64"});
  const auto linear = [&](const Tensor& weight, const Tensor& bias, const Tensor& pre, Activation act,
                          std::vector<std::string> words) {
    cases.push_back(
        case_of(kernel::linear_forward, "refused", {x, weight, bias}, {c, pre}, act).is_refused(std::move(words)));
  };
  linear(Tensor::zeros({4, 5}), none, none, Activation::none, {"(2, 3)", "(4, 5)"});
  linear(w, small, none, Activation::none, {"bias", "(4)", "(2)"});
  linear(w, none, small, Activation::relu, {"pre"});
  cases.push_back(case_of(kernel::linear_backward_input, "refused", {c, w}, {small}).is_refused());
  cases.push_back(
      case_of(kernel::linear_backward_activation, "refused", {c, w, c}, {small, none}, Activation::relu).is_refused());
  cases.push_back(
      case_of(kernel::linear_backward_activation, "refused", {c, w, x}, {unset({2, 3}), none}, Activation::none)
          .is_refused({"activation", "none"}));
  cases.push_back(case_of(kernel::linear_backward_weight, "refused", {c, x}, {small, none}).is_refused());
}

}  // namespace

KernelCases matmul_cases() {
  KernelCases cases;
  add_matmuls(cases);
  add_linears(cases);
  add_nan(cases);
  add_refusals(cases);
  return cases;
}

KernelCases timed_matmul() {
  const int64_t N = 16 * 197, I = 384, O = 1536;
  const double operations = 2.0 * static_cast<double>(N * I * O);
  return {
      linear_forward(N, I, O, true, true, Activation::gelu).timed({"linear_forward + gelu 3152x384->1536", operations}),
      linear_backward_input(N, I, O).timed({"linear_backward_input 3152x1536->384", operations}),
      linear_backward_weight(N, I, O, true).timed({"linear_backward_weight 1536x384", operations})};
}

}  // namespace sked::test
