// Products, convolutions, softmax, attention.

#include <cmath>

#include "core/kernels/attention.h"
#include "core/kernels/conv.h"
#include "core/kernels/matmul.h"
#include "core/kernels/pool.h"
#include "tests/common/hash_weights.h"
#include "tests/cuda/parity.h"

namespace sked::test {
namespace {

// Sums of up to 1,200 products of size 1 in f32, in whatever order a library takes them.
constexpr double kProducts = 1e-5;

}  // namespace

namespace {

void add_matmul(ParityCases& cases) {
  const int64_t sizes[][4] = {{1, 1, 1, 1},    {1, 7, 5, 3},      {3, 17, 1, 29},
                              {4, 64, 32, 16}, {1, 200, 70, 300}, {2, 3, 4, 0}};
  for (const auto& [batch, M, N, Q] : sizes)
    for (const int mode : {0, 1, 2, 3})
      for (const bool shared : {false, true})
        for (const bool accumulate : {false, true}) {
          const bool ta = mode & 1, tb = mode & 2;
          const Tensor a = hash_tensor(ta ? Shape{batch, Q, M} : Shape{batch, M, Q}, 1);
          const Shape matrix = tb ? Shape{N, Q} : Shape{Q, N};
          const Tensor b = hash_tensor(shared ? matrix : Shape{batch, matrix[0], matrix[1]}, 2);
          cases.push_back(
              {"matmul",
               a.str() + b.str() + (ta ? " ta" : "") + (tb ? " tb" : ""),
               {a, b},
               {accumulate ? hash_tensor({batch, M, N}, 3) : unset({batch, M, N})},
               [=](const TensorList& in, TensorList& out) { kernel::matmul(in[0], in[1], out[0], ta, tb, accumulate); },
               kProducts,
               1,
               {0, 1},
               accumulate ? std::vector<size_t>{} : std::vector<size_t>{0}});  // sums in f32, or rounded
        }
}

struct Layer {
  int64_t N, I, O;
};

/// masters: in bf16, weights, biases and their gradients stay f32.
void add_linear(ParityCases& cases, const Layer& p, bool masters) {
  const auto [N, I, O] = p;
  const Tensor x = hash_tensor({N, I}, 1), w = hash_tensor({O, I}, 2), b = hash_tensor({O}, 3),
               dy = hash_tensor({N, O}, 4), hidden = hash_tensor({N, I}, 5);
  const std::vector<size_t> first = {0}, both = {0, 1}, none = {};
  const std::string what = masters ? ", f32 weights in bf16" : "";
  for (const bool bias : {false, true})
    for (const bool keep : {false, true})
      for (const Activation act : {Activation::none, Activation::relu, Activation::gelu, Activation::gelu_tanh}) {
        if (keep && act == Activation::none) continue;
        cases.push_back({"linear_forward",
                         x.str() + " " + name(act) + what,
                         {x, w, bias ? b : Tensor()},
                         {unset({N, O}), keep ? unset({N, O}) : Tensor()},
                         [act](const TensorList& in, TensorList& out) {
                           kernel::linear_forward(in[0], in[1], in[2], out[0], out[1], act);
                         },
                         kProducts,
                         1,
                         masters ? first : std::vector<size_t>{0, 1, 2},
                         both});
      }
  cases.push_back({"linear_backward_input",
                   dy.str() + what,
                   {dy, w},
                   {unset({N, I})},
                   [](const TensorList& in, TensorList& out) { kernel::linear_backward_input(in[0], in[1], out[0]); },
                   kProducts,
                   1,
                   masters ? first : both,
                   first});
  for (const bool bias : {false, true}) {
    for (const Activation act : {Activation::relu, Activation::gelu, Activation::gelu_tanh})
      cases.push_back({"linear_backward_activation",
                       dy.str() + " " + name(act) + what,
                       {dy, w, hidden},
                       {unset({N, I}), bias ? unset({I}) : Tensor()},
                       [act](const TensorList& in, TensorList& out) {
                         kernel::linear_backward_activation(in[0], in[1], in[2], out[0], out[1], act);
                       },
                       kProducts,
                       1,
                       masters ? std::vector<size_t>{0, 2} : std::vector<size_t>{0, 1, 2},
                       masters ? first : both});
    cases.push_back(
        {"linear_backward_weight",
         dy.str() + what,
         {dy, x},
         {unset({O, I}), bias ? unset({O}) : Tensor()},
         [](const TensorList& in, TensorList& out) { kernel::linear_backward_weight(in[0], in[1], out[0], out[1]); },
         kProducts,
         1,
         both,
         masters ? none : both});
  }
}

void add_linears(ParityCases& cases) {
  const std::vector<Layer> layers = {{1, 1, 1}, {3, 5, 7}, {64, 96, 128}, {130, 257, 65}, {0, 3, 4}};
  for (const Layer& layer : layers)
    for (const bool masters : {false, true}) add_linear(cases, layer, masters);
}

}  // namespace

ParityCases matmul_parity() {
  ParityCases cases;
  add_matmul(cases);
  add_linears(cases);
  return cases;
}

namespace {

struct Convolved {
  int64_t N, H, W, I, O;
  Window window;
};

/// masters: in bf16, filters, bias and their gradients stay f32.
void add_convolution(ParityCases& cases, const Convolved& p, bool masters) {
  const Window window = p.window;
  const int64_t k = window.kernel;
  const Tensor x = hash_tensor({p.N, p.H, p.W, p.I}, 1), w = hash_tensor({p.O, p.I / window.groups, k, k}, 2),
               b = hash_tensor({p.O}, 3), dy = hash_tensor({p.N, window.output(p.H), window.output(p.W), p.O}, 4);
  const std::string what = x.str() + w.str() + (masters ? " f32 filters" : "");
  using Which = std::vector<size_t>;
  for (const bool bias : {false, true}) {
    cases.push_back({"conv2d_forward",
                     what,
                     {x, w, bias ? b : Tensor()},
                     {unset(dy.shape())},
                     [window](const TensorList& in, TensorList& out) {
                       kernel::conv2d_forward(in[0], in[1], in[2], out[0], window);
                     },
                     kProducts,
                     1,
                     masters ? Which{0} : Which{0, 1, 2},
                     {0}});
    cases.push_back({"conv2d_backward_weight",
                     what,
                     {dy, x},
                     {unset(w.shape()), bias ? unset({p.O}) : Tensor()},
                     [window](const TensorList& in, TensorList& out) {
                       kernel::conv2d_backward_weight(in[0], in[1], out[0], out[1], window);
                     },
                     kProducts,
                     1,
                     {0, 1},
                     masters ? Which{} : Which{0, 1}});
  }
  cases.push_back(
      {"conv2d_backward_input",
       what,
       {dy, w},
       {unset(x.shape())},
       [window](const TensorList& in, TensorList& out) { kernel::conv2d_backward_input(in[0], in[1], out[0], window); },
       kProducts,
       1,
       masters ? Which{0} : Which{0, 1},
       {0}});
}

void add_convolutions(ParityCases& cases) {
  const Convolved problems[] = {{1, 1, 1, 1, 1, {1, 1, 0, 1}},
                                {2, 5, 7, 3, 5, {3, 2, 1, 1}},
                                {1, 8, 6, 17, 16, {1, 1, 0, 1}},
                                {2, 7, 7, 5, 3, {1, 2, 0, 1}},
                                {2, 4, 4, 6, 4, {3, 1, 1, 2}},
                                {1, 5, 5, 8, 8, {3, 1, 1, 8}},
                                {1, 3, 3, 2, 3, {5, 1, 3, 1}},
                                {2, 15, 15, 64, 16, {3, 1, 1, 1}},
                                {0, 4, 4, 3, 2, {3, 1, 1, 1}},
                                // a residual network's: first layer, strides, projection, groups
                                {1, 20, 20, 3, 64, {7, 2, 3, 1}},
                                {2, 8, 8, 32, 64, {3, 2, 1, 1}},
                                {2, 8, 8, 32, 64, {1, 2, 0, 1}},
                                {2, 8, 8, 64, 64, {3, 1, 1, 4}},
                                {1, 9, 8, 128, 128, {3, 2, 1, 32}}};
  for (const Convolved& p : problems)
    for (const bool masters : {false, true}) add_convolution(cases, p, masters);
}

void add_pool(ParityCases& cases, const Shape& shape, const Window& window) {
  const Tensor x = hash_tensor(shape, 1);
  const Shape out_shape{shape[0], window.output(shape[1]), window.output(shape[2]), shape[3]};
  Tensor y = Tensor::empty(out_shape), which = Tensor::empty(out_shape, DType::u8);
  kernel::max_pool2d_forward(x, y, which, window);
  const Tensor dy = hash_tensor(out_shape, 2);
  const std::string what = x.str() + " by " + std::to_string(window.kernel) + "/" + std::to_string(window.stride);
  cases.push_back(
      {"max_pool2d_forward",
       what,
       {x},
       {unset(out_shape), Tensor::zeros(out_shape, DType::u8)},
       [window](const TensorList& in, TensorList& out) { kernel::max_pool2d_forward(in[0], out[0], out[1], window); },
       0,
       0,
       {0},
       {0}});
  cases.push_back(
      {"max_pool2d_backward",
       what,
       {dy, which},
       {unset(shape)},
       [window](const TensorList& in, TensorList& out) { kernel::max_pool2d_backward(in[0], in[1], out[0], window); },
       1e-6,
       0,
       {0},
       {0}});
  cases.push_back(
      {"avg_pool2d_forward",
       what,
       {x},
       {unset(out_shape)},
       [window](const TensorList& in, TensorList& out) { kernel::avg_pool2d_forward(in[0], out[0], window); },
       1e-6,
       1,
       {0},
       {0}});
  cases.push_back(
      {"avg_pool2d_backward",
       what,
       {dy},
       {unset(shape)},
       [window](const TensorList& in, TensorList& out) { kernel::avg_pool2d_backward(in[0], out[0], window); },
       1e-6,
       1,
       {0},
       {0}});
}

void add_pools(ParityCases& cases) {
  const std::pair<Shape, Window> pools[] = {{{2, 6, 8, 3}, {2, 2, 0}},
                                            {{2, 7, 5, 17}, {3, 2, 1}},
                                            {{1, 9, 9, 4}, {5, 3, 4}},
                                            {{3, 8, 8, 64}, {8, 8, 0}},
                                            {{2, 7, 8, 5}, {1, 2, 0}},
                                            {{0, 4, 4, 3}, {2, 2, 0}},
                                            // packs of channels, in f32 alone or in bf16 too
                                            {{2, 11, 9, 64}, {3, 2, 1}},
                                            {{3, 6, 7, 24}, {2, 1, 1}},
                                            {{1, 9, 10, 12}, {3, 1, 2}},
                                            {{2, 15, 5, 8}, {4, 5, 0}},
                                            {{2, 3, 3, 16}, {3, 3, 0}},
                                            {{2, 4, 4, 0}, {2, 2, 0}},
                                            // 64-bit offsets
                                            {{2, 5, 4, 8}, {3, int64_t{1} << 40, 1}},
                                            {{2, 5, 4, 3}, {3, int64_t{1} << 40, 1}}};
  for (const auto& [shape, window] : pools) add_pool(cases, shape, window);
}

}  // namespace

ParityCases conv_parity() {
  ParityCases cases;
  add_convolutions(cases);
  add_pools(cases);
  return cases;
}

ParityCases attention_parity() {
  ParityCases cases;
  const int64_t problems[][4] = {{1, 1, 1, 1},   {2, 5, 3, 4},    {1, 33, 2, 16}, {1, 197, 1, 64},
                                 {2, 64, 2, 64}, {1, 70, 2, 128}, {0, 4, 2, 8}};
  for (const auto& [N, T, H, E] : problems)
    for (const bool causal : {false, true}) {
      const double scale = 1 / std::sqrt(static_cast<double>(E));
      const Tensor qkv = hash_tensor({N, T, 3, H, E}, 1), dy = hash_tensor({N, T, H, E}, 2);
      Tensor y = Tensor::empty({N, T, H, E}), lse = Tensor::empty({N, H, T});
      kernel::attention_forward(qkv, y, lse, scale, causal);
      cases.push_back({"attention_forward",
                       qkv.str() + (causal ? " causal" : ""),
                       {qkv},
                       {unset(y.shape()), unset(lse.shape())},
                       [=](const TensorList& in, TensorList& out) {
                         kernel::attention_forward(in[0], out[0], out[1], scale, causal);
                       },
                       kProducts,
                       1,
                       {0},
                       {0}});
      // y and lse arrive rounded to f32; in bf16 y is rounded again, lse is not.
      cases.push_back({"attention_backward",
                       qkv.str() + (causal ? " causal" : ""),
                       {dy, qkv, y, lse},
                       {unset(qkv.shape())},
                       [=](const TensorList& in, TensorList& out) {
                         kernel::attention_backward(in[0], in[1], in[2], in[3], out[0], scale, causal);
                       },
                       kProducts,
                       1,
                       {0, 1, 2},
                       {0}});
    }
  return cases;
}

}  // namespace sked::test
