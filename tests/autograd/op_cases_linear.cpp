#include "autograd/attention.h"
#include "autograd/batch_norm.h"
#include "autograd/conv.h"
#include "autograd/elementwise.h"
#include "autograd/group_norm.h"
#include "autograd/index.h"
#include "autograd/l2_normalize.h"
#include "autograd/layer_norm.h"
#include "autograd/loss.h"
#include "autograd/matmul.h"
#include "autograd/pool.h"
#include "autograd/random.h"
#include "autograd/softmax.h"
#include "tests/autograd/op_cases.h"

namespace sked::test {

namespace {

using Vars = std::vector<Var>;

Var run_batch_norm(const Vars& x, bool training, bool relu, bool with_residual) {
  const DType dtype = x[0].dtype();
  Tensor mean = constant({0.1, -0.2, 0.3}, {3}, dtype), var = constant({0.5, 1.5, 2.0}, {3}, dtype);
  return batch_norm(x[0], with_residual ? x[3] : Var(), x[1], x[2], mean, var,
                    {.momentum = 0.1, .eps = 1e-5, .training = training, .relu = relu});
}

}  // namespace

std::vector<OpCase> matmul_cases() {
  std::vector<OpCase> cases;
  const auto product = [&](const std::string& name, Shape a, Shape b, bool ta, bool tb) {
    cases.push_back({name, {{a}, {b}}, [ta, tb](const Vars& x) { return matmul(x[0], x[1], ta, tb); }});
  };
  product("matmul", {2, 3}, {3, 4}, false, false);
  product("matmul/ta", {3, 2}, {3, 4}, true, false);
  product("matmul/tb", {2, 3}, {4, 3}, false, true);
  product("matmul/ta_tb", {3, 2}, {4, 3}, true, true);
  product("matmul/batch", {2, 2, 3}, {2, 3, 4}, false, false);
  product("matmul/batch_ta", {2, 3, 2}, {2, 3, 4}, true, false);
  product("matmul/batch_tb", {2, 2, 3}, {2, 4, 3}, false, true);
  product("matmul/batch_ta_tb", {2, 3, 2}, {2, 4, 3}, true, true);
  product("matmul/shared", {2, 2, 3}, {3, 4}, false, false);
  product("matmul/shared_ta", {2, 3, 2}, {3, 4}, true, false);
  product("matmul/shared_tb", {2, 2, 2, 3}, {4, 3}, false, true);
  product("matmul/ones", {1, 1}, {1, 1}, false, false);

  const auto layer = [&](const std::string& name, Shape x, bool bias, Activation act) {
    OpCase op{
        name, {{x}, {{4, 3}}}, [act](const Vars& v) { return linear(v[0], v[1], v.size() > 2 ? v[2] : Var(), act); }};
    if (bias) op.inputs.push_back({{4}});
    cases.push_back(op);
  };
  layer("linear", {2, 3}, true, Activation::none);
  layer("linear/no_bias", {2, 3}, false, Activation::none);
  layer("linear/relu", {2, 3}, true, Activation::relu);
  layer("linear/gelu", {2, 3}, true, Activation::gelu);
  layer("linear/tokens", {2, 2, 3}, true, Activation::none);
  layer("linear/tokens_gelu", {2, 2, 3}, true, Activation::gelu);
  layer("linear/no_bias_relu", {5, 3}, false, Activation::relu);
  layer("linear/vector", {3}, true, Activation::none);
  layer("linear/gelu_tanh", {2, 3}, true, Activation::gelu_tanh);

  const auto perceptron = [&](const std::string& name, Shape x, bool bias, Activation act) {
    OpCase op{name, {{x}, {{4, 3}}, {{4}}, {{5, 4}}, {{5}}}, [act](const Vars& v) {
                return mlp(v[0], v[1], v[2], v[3], v[4], act);
              }};
    if (!bias) {
      op.inputs = {{x}, {{4, 3}}, {{5, 4}}};
      op.f = [act](const Vars& v) { return mlp(v[0], v[1], {}, v[2], {}, act); };
    }
    cases.push_back(op);
  };
  perceptron("mlp", {2, 3}, true, Activation::gelu);
  perceptron("mlp/gelu_tanh", {2, 3}, true, Activation::gelu_tanh);
  perceptron("mlp/relu", {4, 3}, true, Activation::relu);
  perceptron("mlp/tokens", {2, 2, 3}, true, Activation::gelu);
  perceptron("mlp/no_bias", {2, 3}, false, Activation::gelu_tanh);
  return cases;
}

std::vector<OpCase> conv_cases() {
  std::vector<OpCase> cases;
  const auto conv = [&](const std::string& name, Shape x, Shape w, bool bias, Window window) {
    OpCase op{
        name, {{x}, {w}}, [window](const Vars& v) { return conv2d(v[0], v[1], v.size() > 2 ? v[2] : Var(), window); }};
    if (bias) op.inputs.push_back({{w[0]}});
    cases.push_back(op);
  };
  conv("conv2d", {2, 4, 5, 2}, {3, 2, 3, 3}, true, {.kernel = 3, .padding = 1});
  conv("conv2d/strided", {1, 5, 6, 2}, {3, 2, 3, 3}, false, {.kernel = 3, .stride = 2, .padding = 1});
  conv("conv2d/pointwise", {2, 2, 3, 3}, {4, 3, 1, 1}, true, {});
  conv("conv2d/patches", {2, 4, 4, 2}, {3, 2, 2, 2}, true, {.kernel = 2, .stride = 2});
  conv("conv2d/groups", {1, 4, 4, 4}, {6, 2, 3, 3}, true, {.kernel = 3, .padding = 1, .groups = 2});
  conv("conv2d/depthwise", {1, 4, 4, 3}, {3, 1, 3, 3}, false, {.kernel = 3, .padding = 1, .groups = 3});
  conv("conv2d/strided_pointwise", {1, 5, 5, 2}, {3, 2, 1, 1}, false, {.stride = 2});

  const auto pool = [&](const std::string& name, Shape x, Var (*f)(const Var&, Window), Window window, bool apart) {
    cases.push_back({name, {{x}}, [f, window](const Vars& v) { return f(v[0], window); }, apart});
  };
  pool("max_pool2d", {1, 4, 4, 2}, max_pool2d, {.kernel = 2, .stride = 2}, true);
  pool("max_pool2d/overlapping", {1, 5, 5, 2}, max_pool2d, {.kernel = 3, .stride = 2, .padding = 1}, true);
  pool("avg_pool2d", {2, 4, 4, 2}, avg_pool2d, {.kernel = 2, .stride = 2}, false);
  pool("avg_pool2d/overlapping", {1, 5, 6, 2}, avg_pool2d, {.kernel = 3, .stride = 2, .padding = 1}, false);
  cases.push_back({"global_avg_pool", {{{2, 3, 4, 3}}}, [](const Vars& v) { return global_avg_pool(v[0]); }});
  return cases;
}

std::vector<OpCase> norm_cases() {
  std::vector<OpCase> cases;
  const auto batch = [&](const std::string& name, Shape shape, bool training, bool relu, bool residual) {
    OpCase op{name, {{shape}, {{3}, 0.5F, 2}, {{3}}}, [=](const Vars& v) {
                return run_batch_norm(v, training, relu, residual);
              }};
    if (residual) op.inputs.push_back({shape});
    cases.push_back(op);
  };
  batch("batch_norm", {2, 2, 3, 3}, true, false, false);
  batch("batch_norm/relu", {5, 3}, true, true, false);
  batch("batch_norm/residual", {2, 2, 2, 3}, true, false, true);
  batch("batch_norm/residual_relu", {2, 2, 2, 3}, true, true, true);
  batch("batch_norm/evaluation", {2, 2, 2, 3}, false, false, false);
  batch("batch_norm/evaluation_residual", {4, 3}, false, false, true);
  batch("batch_norm/evaluation_residual_relu", {2, 2, 2, 3}, false, true, true);

  const auto with_affine = [](Shape x, int64_t width) {
    return std::vector<OpInput>{{x}, {{width}, 0.5F, 2}, {{width}}};
  };
  cases.push_back({"layer_norm", with_affine({3, 5}, 5), [](const Vars& v) { return layer_norm(v[0], v[1], v[2]); }});
  cases.push_back({"layer_norm/tokens", with_affine({2, 3, 4}, 4),
                   [](const Vars& v) { return layer_norm(v[0], v[1], v[2], 1e-3); }});
  cases.push_back({"layer_norm/plain", {{{3, 5}}}, [](const Vars& v) { return layer_norm(v[0], {}, {}); }});
  // Both results are read, so that both gradients meet in the sum.
  cases.push_back({"add_layer_norm", {{{3, 5}}, {{5}, 0.5F, 2}, {{5}}, {{3, 5}}}, [](const Vars& v) {
                     const NormedSum y = add_layer_norm(v[0], v[3], v[1], v[2]);
                     return y.sum * 0.5 + y.normed * y.sum;
                   }});
  cases.push_back({"add_layer_norm/tokens", {{{2, 3, 4}}, {{4}, 0.5F, 2}, {{4}}, {{2, 3, 4}}}, [](const Vars& v) {
                     return add_layer_norm(v[0], v[3], v[1], v[2], 1e-3).normed;
                   }});
  cases.push_back(
      {"group_norm", with_affine({2, 2, 3, 6}, 6), [](const Vars& v) { return group_norm(v[0], v[1], v[2], 3); }});
  cases.push_back({"group_norm/one_group", with_affine({2, 5, 4}, 4),
                   [](const Vars& v) { return group_norm(v[0], v[1], v[2], 1); }});
  cases.push_back({"l2_normalize", {{{3, 5}}}, [](const Vars& v) { return l2_normalize(v[0]); }});
  cases.push_back({"l2_normalize/tokens", {{{2, 3, 4}}}, [](const Vars& v) { return l2_normalize(v[0], 0.5); }});
  cases.push_back({"l2_normalize/one", {{{4, 1}, 0.5F, 2}}, [](const Vars& v) { return l2_normalize(v[0], 0.5); }});
  return cases;
}

std::vector<OpCase> other_cases() {
  std::vector<OpCase> cases;
  const Tensor labels = Tensor::from(std::vector<int64_t>{2, 0, 3}, {3});
  const Tensor ids = Tensor::from(std::vector<int64_t>{1, 4, 1, 0, 1, 2}, {2, 3});
  // Per row: one-hot, uniform and mixed.
  const std::vector<double> targets{1, 0, 0, 0, 0.25, 0.25, 0.25, 0.25, 0.125, 0.5, 0, 0.375};
  const RngAddress address{.seed = 7, .stream = 3, .step = 11};
  const auto add = [&](const std::string& name, OpInput in, std::function<Var(const Var&)> f) {
    cases.push_back({name, {in}, [f](const Vars& v) { return f(v[0]); }});
  };
  add("softmax", {{3, 4}}, [](const Var& x) { return softmax(x); });
  add("softmax/cube", {{2, 3, 4}, -6, 6}, [](const Var& x) { return softmax(x); });
  add("log_softmax", {{3, 4}}, [](const Var& x) { return log_softmax(x); });
  add("log_softmax/cube", {{2, 3, 4}, -6, 6}, [](const Var& x) { return log_softmax(x); });
  add("attention", {{2, 3, 12}}, [](const Var& x) { return attention(x, 2); });
  add("attention/causal", {{2, 4, 6}}, [](const Var& x) { return attention(x, 2, true); });
  add("attention/one_token", {{1, 1, 9}}, [](const Var& x) { return attention(x, 1); });
  add("embedding", {{5, 3}}, [ids](const Var& x) { return embedding(x, ids); });
  add("pick", {{3, 4}}, [labels](const Var& x) { return pick(x, labels); });
  add("pick/samples", {{3, 2, 4}}, [labels](const Var& x) { return pick(x, labels); });
  add("dropout", {{3, 7}}, [address](const Var& x) { return dropout(x, 0.25, address); });
  add("drop_path", {{6, 3}}, [address](const Var& x) { return drop_path(x, 0.5, address); });
  add("cross_entropy", {{3, 4}, -4, 4}, [labels](const Var& x) { return cross_entropy(x, labels); });
  add("soft_cross_entropy", {{3, 4}, -4, 4}, [targets](const Var& x) {
    return soft_cross_entropy(x, constant(targets, {3, 4}, x.dtype()));
  });
  add("sigmoid_cross_entropy", {{3, 4}, -4, 4}, [targets](const Var& x) {
    return sigmoid_cross_entropy(x, constant(targets, {3, 4}, x.dtype()));
  });
  return cases;
}

}  // namespace sked::test
