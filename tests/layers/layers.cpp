// Layers: gradients of small compositions in float64 against central differences, and what each layer promises beside
// them.

#include <doctest/doctest.h>

#include <cmath>

#include "autograd/conv.h"
#include "autograd/elementwise.h"
#include "autograd/gradcheck.h"
#include "autograd/reduce.h"
#include "layers/conv.h"
#include "layers/dropout.h"
#include "layers/models/model.h"
#include "layers/transformer.h"
#include "tests/common/hash_weights.h"

using namespace sked;

namespace {

Tensor random64(const Shape& shape, uint32_t salt) { return test::hash_tensor(shape, salt).to(DType::f64); }

/// Everything in the tree in f64, with the values of hash_parameter.
void to_f64(Module& module) {
  for (NamedVar& p : module.parameters())
    p.var.mutable_value() = test::hash_parameter(p.name, p.var.shape()).to(DType::f64);
  for (auto& [name, buffer] : module.buffers()) *buffer = buffer->to(DType::f64);
}

/// <c, f(x)> with a fixed cotangent c.
Var weighed(const std::function<Var(const Var&)>& f, const Var& x) {
  const Var y = f(x);
  return sum(y * Var(random64(y.shape(), 99)));
}

/// f's gradient by x (gradcheck) and by every parameter of `module` (central differences here, about `elements` of
/// each).
void check(const std::string& what, Module& module, const std::function<Var(const Var&)>& f, const Tensor& x,
           int64_t elements = 12) {
  INFO(what);
  const GradcheckResult by_input = gradcheck([&](const std::vector<Var>& in) { return f(in[0]); }, {x});
  CHECK_MESSAGE(by_input.ok, by_input.message);

  for (NamedVar& p : module.parameters()) p.var.clear_grad();
  weighed(f, Var(x)).backward();
  constexpr double kStep = 1e-5;
  for (NamedVar& p : module.parameters()) {
    INFO("parameter " << p.name);
    REQUIRE(p.var.grad().defined());
    const std::vector<double> got = p.var.grad().to_vector<double>();
    double* const w = p.var.mutable_value().data<double>();
    const int64_t n = p.var.numel();
    for (int64_t i = 0; i < n; i += std::max<int64_t>(1, n / elements)) {
      const NoGrad off;
      const double before = w[i];
      w[i] = before + kStep;
      const double above = weighed(f, Var(x)).value().item();
      w[i] = before - kStep;
      const double below = weighed(f, Var(x)).value().item();
      w[i] = before;
      const double expected = (above - below) / (2 * kStep);
      INFO("element " << i);
      // Central differences in f64: truncation 1e-10 and rounding 1e-16 / 1e-5, times derivatives of order 10 to 100.
      CHECK(std::abs(got[static_cast<size_t>(i)] - expected) < 1e-6 * (1 + std::abs(expected)));
    }
  }
}

}  // namespace

TEST_CASE("layers: gradients of a linear layer, with and without activation and bias") {
  Init init(1);
  Linear layer(init.lecun_normal({4, 5}), init.constant({4}, 0)), bare(init.lecun_normal({4, 5}));
  to_f64(layer);
  to_f64(bare);
  const Tensor x = random64({2, 3, 5}, 1);
  check(
      "linear", layer, [&](const Var& v) { return layer.forward(v); }, x);
  check(
      "linear + gelu", layer, [&](const Var& v) { return layer.forward(v, Activation::gelu); }, x);
  check(
      "no bias", bare, [&](const Var& v) { return bare.forward(v); }, x);
  CHECK(bare.parameters().size() == 1);
  CHECK_THROWS_AS(Linear(Tensor::zeros({4, 5}), Tensor::zeros({5})), Error);
  CHECK_THROWS_AS(Linear(Tensor::zeros({4})), Error);
}

TEST_CASE("layers: gradients of convolutions and norms") {
  Init init(1);
  const Tensor x = random64({2, 5, 4, 4}, 2);
  Conv2d conv(init, 4, 3, 3, 2);
  to_f64(conv);
  check(
      "conv", conv, [&](const Var& v) { return conv.forward(v); }, x);
  StdConv2d standard(init, 4, 3, 3);
  to_f64(standard);
  check(
      "std conv", standard, [&](const Var& v) { return standard.forward(v); }, x);
  GroupNorm group(init, 4, 2);
  to_f64(group);
  check(
      "group norm", group, [&](const Var& v) { return group.forward(v); }, x);
  LayerNorm layer(init, 4);
  to_f64(layer);
  check(
      "layer norm", layer, [&](const Var& v) { return layer.forward(v); }, x);
  CHECK_THROWS_AS(GroupNorm(init, 4, 3), Error);
}

TEST_CASE("layers: gradients of batch norm in training and in inference, with residual and ReLU") {
  Init init(1);
  const Tensor x = random64({2, 3, 3, 4}, 3);
  const Var residual(random64({2, 3, 3, 4}, 4));
  for (const bool training : {true, false}) {
    const Context context{.training = training};
    BatchNorm2d norm(init, 4);
    to_f64(norm);
    check(
        "plain", norm, [&](const Var& v) { return norm.forward(v, context); }, x);
    check(
        "relu", norm, [&](const Var& v) { return norm.forward_relu(v, context); }, x);
    check(
        "residual", norm, [&](const Var& v) { return norm.forward_add_relu(v, residual, context); }, x);
    check(
        "shortcut", norm, [&](const Var& v) { return norm.forward_add_relu(v, v, context); }, x);
  }
}

TEST_CASE("layers: batch norm moves its running statistics in training only") {
  Init init(1);
  BatchNorm2d norm(init, 2);
  const Var x(Tensor::from<float>({1, 10, 3, 10}, {2, 1, 1, 2}));
  norm.forward(x, {});
  CHECK(norm.buffers()[0].second->to_vector<float>() == std::vector<float>{0, 0});
  norm.forward(x, {.training = true});
  const std::vector<float> mean = norm.buffers()[0].second->to_vector<float>();
  const std::vector<float> var = norm.buffers()[1].second->to_vector<float>();
  CHECK(mean[0] == doctest::Approx(0.1 * 2));
  CHECK(mean[1] == doctest::Approx(0.1 * 10));
  CHECK(var[0] == doctest::Approx(0.9 + 0.1 * 2));  // unbiased: (1 + 1) / (2 − 1)
  CHECK(var[1] == doctest::Approx(0.9));
}

TEST_CASE("layers: gradients of a transformer block, its parts and the patch embedding") {
  Init init(1);
  const Context context{.training = true};
  const Tensor x = random64({2, 3, 8}, 5);
  Attention attention(init, {.width = 8, .heads = 2}), causal(init, {.width = 8, .heads = 2, .causal = true});
  to_f64(attention);
  to_f64(causal);
  check(
      "attention", attention, [&](const Var& v) { return attention.forward(v, context); }, x);
  check(
      "causal", causal, [&](const Var& v) { return causal.forward(v, context); }, x);
  Mlp mlp(init, 8, 6), quick(init, 8, 6, 0.3, Gelu::quick);
  to_f64(mlp);
  to_f64(quick);
  check(
      "mlp", mlp, [&](const Var& v) { return mlp.forward(v, context); }, x);
  check(
      "quick", quick, [&](const Var& v) { return quick.forward(v, context); }, x);
  TransformerBlock block(init, {.width = 8, .heads = 2, .mlp = 12}),
      scaled(init, {.width = 8, .heads = 2, .mlp = 12, .qk_norm = true, .layer_scale = 0.5});
  to_f64(block);
  to_f64(scaled);
  check(
      "block", block, [&](const Var& v) { return block.forward(v, context); }, x);
  check(
      "scaled", scaled, [&](const Var& v) { return scaled.forward(v, context); }, x);
  AttentionPool pool(init, {.width = 8, .heads = 2, .mlp = 12});
  to_f64(pool);
  check(
      "pool", pool, [&](const Var& v) { return pool.forward(v, context); }, x);
  PatchEmbed embed(init, 3, 2, 5), unbiased(init, 3, 2, 5, false);
  CHECK(unbiased.parameters().size() == 1);
  to_f64(embed);
  check(
      "patches", embed, [&](const Var& v) { return embed.forward(v); }, random64({2, 4, 6, 3}, 6));
  CHECK_THROWS_AS(Attention(init, {.width = 8, .heads = 3}), UsageError);
  CHECK_THROWS_AS(AttentionPool(init, {.width = 8, .heads = 3, .mlp = 12}), UsageError);
}

TEST_CASE("layers: dropout inside a block has a gradient, because its mask is addressed") {
  Init init(1);
  const Context context{.training = true, .seed = 4, .step = 2};
  TransformerBlock block(init, {.width = 8, .heads = 2, .mlp = 12, .dropout = 0.3, .drop_path = 0.3});
  to_f64(block);
  check(
      "dropout", block, [&](const Var& v) { return block.forward(v, context); }, random64({4, 3, 8}, 7));
}

TEST_CASE("layers: gradients of whole small backbones") {
  const std::vector<ModelConfig> configs = {
      {.name = "resnet-cifar", .blocks = {1, 1}, .base_width = 3},
      {.name = "vit", .patch = 4, .width = 8, .depth = 2, .heads = 2, .mlp = 12, .representation = 5},
      {.name = "vit", .patch = 4, .width = 8, .depth = 1, .heads = 2, .mlp = 12, .pool = Pool::gap},
      {.name = "resnet18", .blocks = {1, 1}, .base_width = 2, .stem = Stem::cifar, .shortcut = Shortcut::avg},
      {.name = "resnet18", .blocks = {1, 1, 1}, .base_width = 2, .stem = Stem::cifar, .shortcut = Shortcut::pad},
      {.name = "vit",
       .patch = 4,
       .width = 8,
       .depth = 1,
       .heads = 2,
       .mlp = 12,
       .pool = Pool::map,
       .positions = Positions::patches,
       .registers = 2,
       .layer_scale = 0.1,
       .qk_norm = true,
       .pre_norm = true,
       .gelu = Gelu::quick}};
  for (const ModelConfig& config : configs) {
    Init init(1);
    const bool patches = config.name == "vit";
    const Shape image = patches ? Shape{8, 8, 1} : Shape{9, 14, 1};
    const auto backbone = make_backbone(config, image, init);
    to_f64(*backbone);
    const Context context{.training = true};
    check(
        config.name, *backbone, [&](const Var& v) { return backbone->forward(v, context); },
        random64({2, image[0], image[1], 1}, 8), 3);
  }
}

TEST_CASE("layers: a patch embedding is a convolution whose stride is its kernel") {
  Init init(1);
  PatchEmbed embed(init, 3, 4, 5);
  const Tensor weight = test::hash_tensor({5, 3, 4, 4}, 1), bias = test::hash_tensor({5}, 3);
  embed.parameters()[0].var.mutable_value().copy_from(weight);
  embed.parameters()[1].var.mutable_value().copy_from(bias);
  const Var images(test::hash_tensor({2, 8, 12, 3}, 2));
  const Var tokens = embed.forward(images);
  CHECK(tokens.shape() == Shape{2, 2 * 3, 5});
  const std::vector<float> got = tokens.value().to_vector<float>();
  const std::vector<float> expected =
      conv2d(images, Var(weight), Var(bias), {.kernel = 4, .stride = 4}).value().to_vector<float>();
  // f32 sums of 48 products of order 1 in another order
  for (size_t i = 0; i < got.size(); ++i) CHECK(got[i] == doctest::Approx(expected[i]).epsilon(1e-5));
}

TEST_CASE("layers: dropout and drop path by probability, seed, stream and step") {
  Init init(1);
  const Dropout half(init, 0.5), other(init, 0.5), none(init, 0);
  const DropPath path(init, 0.5);
  const Var ones(Tensor::full({64, 100}, 1));
  const auto run = [&](const auto& layer, const Context& context) {
    return layer.forward(ones, context).value().template to_vector<float>();
  };
  const Context training{.training = true, .seed = 7, .step = 3};
  const std::vector<float> mask = run(half, training);
  CHECK(run(half, training) == mask);
  CHECK(run(other, training) != mask);
  CHECK(run(half, {.training = true, .seed = 7, .step = 4}) != mask);
  CHECK(run(half, {.training = true, .seed = 8, .step = 3}) != mask);
  CHECK(run(half, {}) == std::vector<float>(6400, 1));
  CHECK(run(none, training) == std::vector<float>(6400, 1));

  const std::vector<float> rows = run(path, training);
  int64_t kept = 0;
  for (size_t n = 0; n < 64; ++n) {
    CHECK((rows[100 * n] == 0 || rows[100 * n] == 2));
    for (size_t i = 0; i < 100; ++i) CHECK(rows[100 * n + i] == rows[100 * n]);
    kept += rows[100 * n] == 2;
  }
  CHECK(kept > 12);  // 32 ± 4
  CHECK(kept < 52);

  // Rows of a batch that is cut anywhere are dropped as in the whole of it: row n of (N,P,D) too, 21 elements each.
  const Var batch(Tensor::full({8, 3, 7}, 1));
  const auto on_batch = [&](const auto& layer, int64_t begin, int64_t end) {
    const Context part{.training = true, .seed = 7, .step = 3, .first_row = begin};
    return layer.forward(Var(batch.value().rows(begin, end)), part).value().template to_vector<float>();
  };
  const auto joined = [&](const auto& layer, const std::vector<int64_t>& cuts) {
    std::vector<float> all;
    for (size_t i = 0; i + 1 < cuts.size(); ++i)
      for (const float y : on_batch(layer, cuts[i], cuts[i + 1])) all.push_back(y);
    return all;
  };
  for (const std::vector<int64_t>& cuts : {std::vector<int64_t>{0, 4, 8}, {0, 1, 3, 8}, {0, 7, 8}}) {
    CHECK(joined(half, cuts) == on_batch(half, 0, 8));
    CHECK(joined(path, cuts) == on_batch(path, 0, 8));
  }

  CHECK_THROWS_AS(Dropout(init, 1), UsageError);
  CHECK_THROWS_AS(DropPath(init, std::nan("")), UsageError);
}

TEST_CASE("layers: standardized filters do not see the scale and offset of their weights") {
  Init init(1);
  StdConv2d conv(init, 2, 3, 3);
  const Var x(test::hash_tensor({1, 5, 5, 2}, 3));
  const std::vector<float> before = conv.forward(x).value().to_vector<float>();
  Tensor& w = conv.parameters()[0].var.mutable_value();
  float* const p = w.data<float>();
  for (int64_t i = 0; i < w.numel(); ++i) p[i] = 3 * p[i] + 0.5F;
  const std::vector<float> after = conv.forward(x).value().to_vector<float>();
  // f32 sums of 18 terms of order 1
  for (size_t i = 0; i < before.size(); ++i) CHECK(after[i] == doctest::Approx(before[i]).epsilon(1e-4));
}
