// Products, convolutions, norms, softmax, attention.

#include <cmath>

#include "core/kernels/attention.h"
#include "core/kernels/conv.h"
#include "core/kernels/matmul.h"
#include "core/kernels/norm.h"
#include "core/kernels/softmax.h"
#include "tests/common/hash_weights.h"
#include "tests/cuda/parity.h"

namespace sked::test {
namespace {

// Sums of up to 1,200 products of size 1 in f32, in whatever order a library takes them.
constexpr double kProducts = 1e-5;
// Means and variances of O(1) numbers.
constexpr double kNorms = 1e-5;

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
               {0}});
        }
}

void add_linear(ParityCases& cases) {
  const int64_t linears[][3] = {{1, 1, 1}, {3, 5, 7}, {64, 96, 128}, {130, 257, 65}, {0, 3, 4}};
  for (const auto& [N, I, O] : linears) {
    const Tensor x = hash_tensor({N, I}, 1), w = hash_tensor({O, I}, 2), b = hash_tensor({O}, 3),
                 dy = hash_tensor({N, O}, 4);
    for (const bool bias : {false, true})
      for (const bool keep : {false, true})
        for (const Activation act : {Activation::none, Activation::relu, Activation::gelu}) {
          if (keep && act == Activation::none) continue;
          cases.push_back({"linear_forward",
                           x.str() + " " + name(act),
                           {x, w, bias ? b : Tensor()},
                           {unset({N, O}), keep ? unset({N, O}) : Tensor()},
                           [act](const TensorList& in, TensorList& out) {
                             kernel::linear_forward(in[0], in[1], in[2], out[0], out[1], act);
                           },
                           kProducts,
                           1,
                           {0, 1, 2},
                           {0, 1}});
        }
    cases.push_back({"linear_backward_input",
                     dy.str(),
                     {dy, w},
                     {unset({N, I})},
                     [](const TensorList& in, TensorList& out) { kernel::linear_backward_input(in[0], in[1], out[0]); },
                     kProducts,
                     1,
                     {0, 1},
                     {0}});
    for (const bool bias : {false, true})
      cases.push_back(
          {"linear_backward_weight",
           dy.str(),
           {dy, x},
           {unset({O, I}), bias ? unset({O}) : Tensor()},
           [](const TensorList& in, TensorList& out) { kernel::linear_backward_weight(in[0], in[1], out[0], out[1]); },
           kProducts,
           1,
           {0, 1},
           {0, 1}});
  }
}

}  // namespace

ParityCases matmul_parity() {
  ParityCases cases;
  add_matmul(cases);
  add_linear(cases);
  return cases;
}

namespace {

void add_convolutions(ParityCases& cases) {
  struct Problem {
    int64_t N, H, W, I, O;
    Window window;
  };
  const Problem problems[] = {
      {1, 1, 1, 1, 1, {1, 1, 0, 1}}, {2, 5, 7, 3, 5, {3, 2, 1, 1}},     {1, 8, 6, 17, 16, {1, 1, 0, 1}},
      {2, 7, 7, 5, 3, {1, 2, 0, 1}}, {2, 4, 4, 6, 4, {3, 1, 1, 2}},     {1, 5, 5, 8, 8, {3, 1, 1, 8}},
      {1, 3, 3, 2, 3, {5, 1, 3, 1}}, {2, 15, 15, 64, 16, {3, 1, 1, 1}}, {0, 4, 4, 3, 2, {3, 1, 1, 1}}};
  for (const Problem& p : problems) {
    const Window window = p.window;
    const int64_t k = window.kernel;
    const Tensor x = hash_tensor({p.N, p.H, p.W, p.I}, 1), w = hash_tensor({p.O, p.I / window.groups, k, k}, 2),
                 b = hash_tensor({p.O}, 3), dy = hash_tensor({p.N, window.output(p.H), window.output(p.W), p.O}, 4);
    for (const bool bias : {false, true}) {
      cases.push_back({"conv2d_forward",
                       x.str() + w.str(),
                       {x, w, bias ? b : Tensor()},
                       {unset(dy.shape())},
                       [window](const TensorList& in, TensorList& out) {
                         kernel::conv2d_forward(in[0], in[1], in[2], out[0], window);
                       },
                       kProducts,
                       1,
                       {0, 1, 2},
                       {0}});
      cases.push_back({"conv2d_backward_weight",
                       x.str() + w.str(),
                       {dy, x},
                       {unset(w.shape()), bias ? unset({p.O}) : Tensor()},
                       [window](const TensorList& in, TensorList& out) {
                         kernel::conv2d_backward_weight(in[0], in[1], out[0], out[1], window);
                       },
                       kProducts,
                       1,
                       {0, 1},
                       {0, 1}});
    }
    cases.push_back({"conv2d_backward_input",
                     x.str() + w.str(),
                     {dy, w},
                     {unset(x.shape())},
                     [window](const TensorList& in, TensorList& out) {
                       kernel::conv2d_backward_input(in[0], in[1], out[0], window);
                     },
                     kProducts,
                     1,
                     {0, 1},
                     {0}});
  }
}

void add_pools(ParityCases& cases) {
  const std::pair<Shape, Window> pools[] = {{{2, 6, 8, 3}, {2, 2, 0}},
                                            {{2, 7, 5, 17}, {3, 2, 1}},
                                            {{1, 9, 9, 4}, {5, 3, 4}},
                                            {{3, 8, 8, 64}, {8, 8, 0}},
                                            {{0, 4, 4, 3}, {2, 2, 0}}};
  for (const auto& [shape, window] : pools) {
    const Tensor x = hash_tensor(shape, 1);
    const Shape out_shape{shape[0], window.output(shape[1]), window.output(shape[2]), shape[3]};
    Tensor y = Tensor::empty(out_shape), which = Tensor::empty(out_shape, DType::u8);
    kernel::max_pool2d_forward(x, y, which, window);
    const Tensor dy = hash_tensor(out_shape, 2);
    cases.push_back({"max_pool2d_forward",
                     x.str(),
                     {x},
                     {unset(out_shape), Tensor::zeros(out_shape, DType::u8)},
                     [window = window](const TensorList& in, TensorList& out) {
                       kernel::max_pool2d_forward(in[0], out[0], out[1], window);
                     },
                     0,
                     0,
                     {0},
                     {0}});
    cases.push_back({"max_pool2d_backward",
                     x.str(),
                     {dy, which},
                     {unset(shape)},
                     [window = window](const TensorList& in, TensorList& out) {
                       kernel::max_pool2d_backward(in[0], in[1], out[0], window);
                     },
                     1e-6,
                     0,
                     {0},
                     {0}});
    cases.push_back({"avg_pool2d_forward",
                     x.str(),
                     {x},
                     {unset(out_shape)},
                     [window = window](const TensorList& in, TensorList& out) {
                       kernel::avg_pool2d_forward(in[0], out[0], window);
                     },
                     1e-6,
                     1,
                     {0},
                     {0}});
    cases.push_back({"avg_pool2d_backward",
                     x.str(),
                     {dy},
                     {unset(shape)},
                     [window = window](const TensorList& in, TensorList& out) {
                       kernel::avg_pool2d_backward(in[0], out[0], window);
                     },
                     1e-6,
                     1,
                     {0},
                     {0}});
  }
}

}  // namespace

ParityCases conv_parity() {
  ParityCases cases;
  add_convolutions(cases);
  add_pools(cases);
  return cases;
}

namespace {

void add_batch_norm(ParityCases& cases, int64_t M, int64_t C, bool residual, bool relu) {
  const Tensor x = hash_tensor({M, C}, 1, 2, 3), add = residual ? hash_tensor({M, C}, 2) : Tensor();
  const Tensor gamma = hash_tensor({C}, 3, 0.5, 1), beta = hash_tensor({C}, 4), one = Tensor::full({C}, 1);
  const Tensor mean = hash_tensor({C}, 5, 0.1f, 3), rstd = hash_tensor({C}, 6, 0.2f, 1), dy = hash_tensor({M, C}, 7);
  const std::string what = x.str() + (residual ? " + residual" : "") + (relu ? ", ReLU" : "");
  cases.push_back({"batch_norm_forward",
                   what,
                   {x, add, gamma, beta},
                   {unset(x.shape()), unset({C}), unset({C}), one, one},
                   [relu](const TensorList& in, TensorList& out) {
                     kernel::batch_norm_forward(in[0], in[1], in[2], in[3], out[0], out[1], out[2], out[3], out[4],
                                                0.25, 1e-3, relu);
                   },
                   kNorms,
                   1,
                   {0, 1},
                   {0}});
  cases.push_back({"batch_norm_inference",
                   what,
                   {x, add, gamma, beta, mean, rstd},
                   {unset(x.shape())},
                   [relu](const TensorList& in, TensorList& out) {
                     kernel::batch_norm_inference(in[0], in[1], in[2], in[3], in[4], in[5], out[0], 1e-3, relu);
                   },
                   kNorms,
                   1,
                   {0, 1},
                   {0}});
  // Sums of M terms of size 1, which cancel: compared on their own scale.
  const auto terms = std::sqrt(static_cast<double>(M));
  cases.push_back({"batch_norm_backward",
                   what,
                   {dy, x, relu ? hash_tensor({M, C}, 8) : Tensor(), gamma, mean, rstd},
                   {unset(x.shape()), residual ? unset(x.shape()) : Tensor(), unset({C}), unset({C})},
                   [relu](const TensorList& in, TensorList& out) {
                     kernel::batch_norm_backward(in[0], in[1], in[2], in[3], in[4], in[5], out[0], out[1], out[2],
                                                 out[3], relu);
                   },
                   kNorms,
                   terms,
                   {0, 1, 2},
                   {0, 1}});
}

}  // namespace

namespace {

void add_batch_norms(ParityCases& cases) {
  const int64_t batch_shapes[][2] = {{2, 1}, {3, 5}, {130, 64}, {4500, 3}, {700, 40}};
  for (const auto& [M, C] : batch_shapes)
    for (const bool residual : {false, true})
      for (const bool relu : {false, true}) add_batch_norm(cases, M, C, residual, relu);
}

void add_layer_norms(ParityCases& cases) {
  const int64_t rows[][2] = {{1, 1}, {35, 17}, {4500, 3}, {70, 384}, {5, 2048}, {0, 4}};
  for (const auto& [N, D] : rows)
    for (const bool affine : {false, true}) {
      const Tensor x = hash_tensor({N, D}, 1, 2, 3), dy = hash_tensor({N, D}, 2), mean = hash_tensor({N}, 5, 0.1f, 3),
                   rstd = hash_tensor({N}, 6, 0.2f, 1);
      const Tensor gamma = affine ? hash_tensor({D}, 3, 0.5, 1) : Tensor(),
                   beta = affine ? hash_tensor({D}, 4) : Tensor();
      cases.push_back({"layer_norm_forward",
                       x.str(),
                       {x, gamma, beta},
                       {unset({N, D}), unset({N}), unset({N})},
                       [](const TensorList& in, TensorList& out) {
                         kernel::layer_norm_forward(in[0], in[1], in[2], out[0], out[1], out[2], 1e-3);
                       },
                       kNorms,
                       1,
                       {0},
                       {0}});
      cases.push_back({"layer_norm_backward",
                       x.str(),
                       {dy, x, gamma, mean, rstd},
                       {unset({N, D}), affine ? unset({D}) : Tensor(), affine ? unset({D}) : Tensor()},
                       [](const TensorList& in, TensorList& out) {
                         kernel::layer_norm_backward(in[0], in[1], in[2], in[3], in[4], out[0], out[1], out[2]);
                       },
                       kNorms,
                       std::sqrt(static_cast<double>(N)),
                       {0, 1},
                       {0}});
    }
}

void add_group_norms(ParityCases& cases) {
  const int64_t images[][4] = {{1, 1, 2, 1}, {2, 9, 6, 3}, {3, 5, 8, 8}, {2, 49, 64, 4}, {0, 4, 6, 2}};
  for (const auto& [N, P, C, groups] : images) {
    const Tensor x = hash_tensor({N, P, C}, 1, 2, 3), dy = hash_tensor({N, P, C}, 2),
                 gamma = hash_tensor({C}, 3, 0.5, 1), beta = hash_tensor({C}, 4),
                 mean = hash_tensor({N, groups}, 5, 0.1f, 3), rstd = hash_tensor({N, groups}, 6, 0.2f, 1);
    cases.push_back({"group_norm_forward",
                     x.str(),
                     {x, gamma, beta},
                     {unset(x.shape()), unset({N, groups}), unset({N, groups})},
                     [groups = groups](const TensorList& in, TensorList& out) {
                       kernel::group_norm_forward(in[0], in[1], in[2], out[0], out[1], out[2], groups, 1e-3);
                     },
                     kNorms,
                     1,
                     {0},
                     {0}});
    cases.push_back({"group_norm_backward",
                     x.str(),
                     {dy, x, gamma, mean, rstd},
                     {unset(x.shape()), unset({C}), unset({C})},
                     [groups = groups](const TensorList& in, TensorList& out) {
                       kernel::group_norm_backward(in[0], in[1], in[2], in[3], in[4], out[0], out[1], out[2], groups);
                     },
                     kNorms,
                     std::sqrt(static_cast<double>(N * P)),
                     {0, 1},
                     {0}});
  }
}

void add_l2_normalize(ParityCases& cases) {
  const int64_t rows[][2] = {{1, 1}, {35, 17}, {4500, 3}, {70, 384}, {5, 2048}, {0, 4}};
  for (const auto& [N, D] : rows) {
    const Tensor x = hash_tensor({N, D}, 1, 2), dy = hash_tensor({N, D}, 2), r = hash_tensor({N}, 6, 0.2f, 1);
    cases.push_back(
        {"l2_normalize_forward",
         x.str(),
         {x},
         {unset({N, D}), unset({N})},
         [](const TensorList& in, TensorList& out) { kernel::l2_normalize_forward(in[0], out[0], out[1], 1e-3); },
         kNorms,
         1,
         {0},
         {0}});
    cases.push_back(
        {"l2_normalize_backward",
         x.str(),
         {dy, hash_tensor({N, D}, 3), r},
         {unset({N, D})},
         [](const TensorList& in, TensorList& out) { kernel::l2_normalize_backward(in[0], in[1], in[2], out[0]); },
         kNorms,
         std::sqrt(static_cast<double>(D)),
         {0, 1},
         {0}});
  }
}

}  // namespace

ParityCases norm_parity() {
  ParityCases cases;
  add_l2_normalize(cases);
  add_batch_norms(cases);
  add_layer_norms(cases);
  add_group_norms(cases);
  return cases;
}

namespace {

constexpr double kTolerance = 4e-6;  // exponentials of up to 2 ulp of numbers up to e^8, sums of 3,000

void add_rows(ParityCases& cases) {
  const int64_t rows[][2] = {{1, 1}, {5, 10}, {70, 33}, {3, 3000}, {0, 4}};
  for (const auto& [N, K] : rows) {
    const Tensor x = hash_tensor({N, K}, 1, 8), dy = hash_tensor({N, K}, 2), labels = hash_labels(N, K, 3);
    Tensor p = Tensor::empty({N, K}), logp = p.clone(), lse = Tensor::empty({N}), loss = lse.clone();
    kernel::softmax_forward(x, p);
    kernel::log_softmax_forward(x, logp);
    kernel::cross_entropy_forward(x, labels, loss, lse);
    using Two = Kernel<void(const Tensor&, Tensor&)>;
    using Three = Kernel<void(const Tensor&, const Tensor&, Tensor&)>;
    for (const Two* k : {&kernel::softmax_forward, &kernel::log_softmax_forward})
      cases.push_back({k->name(),
                       x.str(),
                       {x},
                       {unset({N, K})},
                       [k](const TensorList& in, TensorList& out) { (*k)(in[0], out[0]); },
                       kTolerance,
                       1,
                       {0},
                       {0}});
    for (const auto& [k, y] :
         {std::pair<const Three*, Tensor>{&kernel::softmax_backward, p}, {&kernel::log_softmax_backward, logp}})
      cases.push_back({k->name(),
                       x.str(),
                       {dy, y},
                       {unset({N, K})},
                       [k = k](const TensorList& in, TensorList& out) { (*k)(in[0], in[1], out[0]); },
                       kTolerance,
                       1});
    cases.push_back(
        {"cross_entropy_forward",
         x.str(),
         {x, labels},
         {unset({N}), unset({N})},
         [](const TensorList& in, TensorList& out) { kernel::cross_entropy_forward(in[0], in[1], out[0], out[1]); },
         kTolerance,
         1,
         {0},
         {}});
    cases.push_back({"cross_entropy_backward",
                     x.str(),
                     {hash_tensor({N}, 4), x, labels, lse},
                     {unset({N, K})},
                     [](const TensorList& in, TensorList& out) {
                       kernel::cross_entropy_backward(in[0], in[1], in[2], in[3], out[0]);
                     },
                     kTolerance,
                     1});
  }
}

void add_logsumexp(ParityCases& cases) {
  for (const ReduceView& v : {ReduceView{6, 10, 1}, {3, 2000, 1}, {2, 16, 40}, {4, 5, 3}, {0, 5, 3}}) {
    const Tensor x = hash_tensor({v.outer, v.n, v.inner}, 1, 8);
    Tensor y = Tensor::empty({v.outer, v.inner});
    kernel::logsumexp_forward(x, y, v);
    cases.push_back({"logsumexp_forward",
                     x.str(),
                     {x},
                     {unset(y.shape())},
                     [v](const TensorList& in, TensorList& out) { kernel::logsumexp_forward(in[0], out[0], v); },
                     kTolerance,
                     1,
                     {0},
                     {0}});
    cases.push_back(
        {"logsumexp_backward",
         x.str(),
         {x, y, hash_tensor(y.shape(), 2)},
         {unset(x.shape())},
         [v](const TensorList& in, TensorList& out) { kernel::logsumexp_backward(in[0], in[1], in[2], out[0], v); },
         kTolerance,
         1});
  }
}

}  // namespace

ParityCases softmax_parity() {
  ParityCases cases;
  add_rows(cases);
  add_logsumexp(cases);
  return cases;
}

ParityCases attention_parity() {
  ParityCases cases;
  const int64_t problems[][4] = {{1, 1, 1, 1},    {2, 5, 3, 4},    {1, 33, 2, 16},
                                 {1, 197, 1, 64}, {1, 70, 2, 128}, {0, 4, 2, 8}};
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
      // y and lse arrive rounded to f32.
      cases.push_back({"attention_backward",
                       qkv.str() + (causal ? " causal" : ""),
                       {dy, qkv, y, lse},
                       {unset(qkv.shape())},
                       [=](const TensorList& in, TensorList& out) {
                         kernel::attention_backward(in[0], in[1], in[2], in[3], out[0], scale, causal);
                       },
                       kProducts,
                       1});
    }
  return cases;
}

}  // namespace sked::test
