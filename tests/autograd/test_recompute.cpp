// recompute(): the same gradients bit for bit, dropout and batch norm included, and each running statistic updated
// once.

#include <doctest/doctest.h>

#include "autograd/batch_norm.h"
#include "autograd/elementwise.h"
#include "autograd/matmul.h"
#include "autograd/random.h"
#include "autograd/recompute.h"
#include "autograd/reduce.h"
#include "tests/common/hash_weights.h"

namespace sked::test {

namespace {

using Vars = std::vector<Var>;
using Block = std::function<Var(const Vars&)>;

/// A block with everything that may go wrong when it runs twice.
struct Layer {
  explicit Layer(uint32_t salt)
      : w(hash_tensor({6, 6}, salt), true),
        gamma(hash_tensor({6}, salt + 1, 0.25F, 1), true),
        beta(hash_tensor({6}, salt + 2), true),
        stream(salt) {}

  Var operator()(const Var& x) {
    ++calls;
    while_recomputing += recomputing();
    const Var y = batch_norm(linear(x, w, {}, Activation::gelu), {}, gamma, beta, mean, var, {});
    return x + dropout(y, 0.25, {.seed = 1, .stream = stream});
  }

  Var w, gamma, beta;
  Tensor mean = Tensor::zeros({6}), var = Tensor::full({6}, 1);
  uint64_t stream;
  int calls = 0, while_recomputing = 0;
};

struct Outcome {
  std::vector<float> y, dx, dw0, dw1, dgamma, mean, var;
  bool operator==(const Outcome&) const = default;
};

Outcome outcome(const Var& x, const Var& y, const Layer& first, const Layer& second) {
  return {y.value().to_vector<float>(),       x.grad().to_vector<float>(),           first.w.grad().to_vector<float>(),
          second.w.grad().to_vector<float>(), first.gamma.grad().to_vector<float>(), first.mean.to_vector<float>(),
          first.var.to_vector<float>()};
}

/// Two layers over one input, `run` deciding how a block is executed.
template <class Run>
Outcome train(const Run& run, int calls_each, int recomputed_each) {
  Layer first(10), second(20);
  const Var x(hash_tensor({8, 6}, 3), true);
  const Var y = run(first, second, x);
  y.backward(hash_tensor({8, 6}, 4));
  CHECK(first.calls == calls_each);
  CHECK(first.while_recomputing == recomputed_each);
  CHECK_FALSE(recomputing());
  return outcome(x, y, first, second);
}

Block block(Layer& layer) {
  return [&layer](const Vars& v) { return layer(v[0]); };
}

}  // namespace

TEST_CASE("recompute gives the same bits as keeping everything") {
  const Outcome kept = train([](Layer& a, Layer& b, const Var& x) { return b(a(x)); }, 1, 0);
  const Outcome each =
      train([](Layer& a, Layer& b, const Var& x) { return recompute(block(b), {recompute(block(a), {x})}); }, 2, 1);
  CHECK(kept == each);
  const Outcome both = train(
      [](Layer& a, Layer& b, const Var& x) { return recompute([&](const Vars& v) { return b(a(v[0])); }, {x}); }, 2, 1);
  CHECK(kept == both);
  // The inner block runs without a tape, again for the outer one's, and again for its own.
  const Outcome nested =
      train([](Layer& a, Layer& b,
               const Var& x) { return recompute([&](const Vars& v) { return b(recompute(block(a), {v[0]})); }, {x}); },
            3, 2);
  CHECK(kept == nested);
}

TEST_CASE("recompute reaches parameters where no input needs a gradient") {
  Layer layer(1);
  const Var x(hash_tensor({8, 6}, 3), false);
  const Var y = recompute(block(layer), {x});
  REQUIRE(y.requires_grad());
  y.backward(hash_tensor({8, 6}, 4));
  CHECK(layer.w.grad().defined());
  CHECK_FALSE(x.grad().defined());
}

TEST_CASE("recompute under NoGrad, with several inputs, and with an input f does not use") {
  const Var a(hash_tensor({3}, 1), true), b(hash_tensor({3}, 2), true), unused(hash_tensor({2}, 3), true);
  const Block f = [](const Vars& v) { return v[0] * v[1]; };
  {
    const NoGrad off;
    CHECK_FALSE(recompute(f, {a, b}).requires_grad());
  }
  sum(recompute(f, {a, b, unused})).backward();
  CHECK(a.grad().to_vector<float>() == b.value().to_vector<float>());
  CHECK(b.grad().to_vector<float>() == a.value().to_vector<float>());
  CHECK_FALSE(unused.grad().defined());
  // Through an input that is itself a result.
  const Var c(hash_tensor({3}, 1), true);
  sum(recompute(f, {c * 2.0, c})).backward();
  const std::vector<float> x = c.value().to_vector<float>(), g = c.grad().to_vector<float>();
  for (size_t i = 0; i < 3; ++i) CHECK(g[i] == 4 * x[i]);
}

}  // namespace sked::test
