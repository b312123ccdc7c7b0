// Gradients gathered so far that a rule takes along (Gathered): right whatever else an input goes into, and no sum of
// their own.

#include <doctest/doctest.h>

#include <array>
#include <functional>

#include "autograd/elementwise.h"
#include "autograd/gradcheck.h"
#include "autograd/layer_norm.h"
#include "autograd/matmul.h"
#include "autograd/recompute.h"
#include "autograd/reduce.h"
#include "core/work_count.h"
#include "tests/common/hash_weights.h"

namespace sked::test {

namespace {

using Vars = std::vector<Var>;
using Function = std::function<Var(const Vars&)>;
using Values = std::vector<double>;

void check(const char* what, const Function& f, const TensorList& inputs) {
  const GradcheckResult result = gradcheck(f, inputs);
  CHECK_MESSAGE(result.ok, what << ": " << result.message);
}

Tensor f64(const Shape& shape, uint32_t salt, float scale = 1, float mean = 0) {
  return hash_tensor(shape, salt, scale, mean).to(DType::f64);
}

/// x, γ, β, and a matrix that stands for the rest of a block.
TensorList block_inputs() { return {f64({3, 5}, 1, 2), f64({5}, 2, 0.5, 1), f64({5}, 3), f64({5, 5}, 4)}; }

Var branch(const Vars& v) { return linear(layer_norm(v[0], v[1], v[2]), v[3], {}); }

/// y = x with a rule that returns `own`, or `own` and what it includes for each of `inputs`.
Var tell(const Vars& inputs, const std::vector<size_t>& included, double own, Values* seen) {
  return record(inputs[0].value().clone(), inputs, [=](const Tensor& dy, Gathered& gathered) {
    Grads grads;
    for (size_t i = 0; i < inputs.size(); ++i) grads.push_back(Tensor::full(dy.shape(), own, dy.dtype()));
    for (const size_t i : included) {
      const Tensor before = gathered.include(i);
      seen->push_back(before.defined() ? before.to_vector<double>()[0] : 0);
      if (before.defined()) grads[i] = Tensor::full(dy.shape(), own + seen->back(), dy.dtype());
    }
    return grads;
  });
}

}  // namespace

TEST_CASE("gathered: the norm of a residual block, its input used in every way") {
  const TensorList in = block_inputs();
  check(
      "x a leaf", [](const Vars& v) { return v[0] + branch(v); }, in);
  check(
      "x a result",
      [](const Vars& v) {
        const Var x = exp(v[0]);
        return x + branch({x, v[1], v[2], v[3]});
      },
      in);
  check("x used by the norm alone", branch, in);
  check(
      "x used thrice, before and after",
      [](const Vars& v) {
        const Var x = exp(v[0] * 0.5), early = x * 3.0, b = branch({x, v[1], v[2], v[3]});
        return x * b + early + square(x);
      },
      in);
  check(
      "one norm twice on x", [](const Vars& v) { return v[0] + branch(v) * branch(v); }, in);
  check(
      "two blocks, one set of parameters",
      [](const Vars& v) {
        const Var x = v[0] + branch(v);
        return x + branch({x, v[1], v[2], v[3]});
      },
      in);
  check("no gamma and beta", [](const Vars& v) { return v[0] * 2.0 + layer_norm(v[0], {}, {}); }, {in[0]});
  check(
      "two losses",
      [](const Vars& v) {
        return sum(v[0] * v[0]) + sum(square(branch({v[0], v[1], v[2], v[3]})));
      },
      in);
}

TEST_CASE("gathered: frozen parameters, a frozen input, and earlier backward passes") {
  const Tensor x0 = hash_tensor({3, 5}, 1), dy = hash_tensor({3, 5}, 5);
  const auto run = [&](bool x_needed, bool gamma_needed, int passes) {
    const Var x(x0, x_needed), gamma(hash_tensor({5}, 2, 0.5, 1), gamma_needed), beta(hash_tensor({5}, 3), true);
    for (int i = 0; i < passes; ++i) (x + layer_norm(x, gamma, beta)).backward(dy);
    return std::array{x.grad(), gamma.grad(), beta.grad()};
  };
  const auto all = run(true, true, 1), frozen = run(true, false, 1), constant = run(false, true, 1),
             twice = run(true, true, 2);
  CHECK(frozen[0].to_vector<double>() == all[0].to_vector<double>());
  CHECK_FALSE(frozen[1].defined());
  CHECK(frozen[2].to_vector<double>() == all[2].to_vector<double>());
  CHECK_FALSE(constant[0].defined());
  CHECK(constant[1].to_vector<double>() == all[1].to_vector<double>());
  const Values one = all[0].to_vector<double>(), two = twice[0].to_vector<double>();
  for (size_t i = 0; i < one.size(); ++i) CHECK(two[i] == doctest::Approx(2 * one[i]).epsilon(1e-5));
  // The cotangent that reached both branches is as it was.
  CHECK(dy.to_vector<double>() == hash_tensor({3, 5}, 5).to_vector<double>());
}

TEST_CASE("gathered: a recomputed block, or branch, gives the same bits") {
  const Tensor dy = hash_tensor({3, 5}, 5);
  const auto grads = [&](const Function& f) {
    TensorList values;
    for (const Tensor& t : block_inputs()) values.push_back(t.to(DType::f32));
    Vars v;
    for (const Tensor& t : values) v.emplace_back(t, true);
    f({exp(v[0]), v[1], v[2], v[3]}).backward(dy);
    Values all;
    for (const Var& leaf : v)
      for (const double g : leaf.grad().to_vector<double>()) all.push_back(g);
    return all;
  };
  const Function plain = [](const Vars& v) { return v[0] * 2.0 + branch(v); };
  const Values kept = grads(plain);
  CHECK(grads([&](const Vars& v) { return recompute(plain, v); }) == kept);
  CHECK(grads([&](const Vars& v) { return v[0] * 2.0 + recompute(branch, v); }) == kept);
  const Function twice = [](const Vars& v) { return v[0] * branch(v) + branch(v); };
  CHECK(grads([&](const Vars& v) { return recompute(twice, v); }) == grads(twice));
  // One value passed as two inputs, and an input that f does not use beside one that is used elsewhere.
  const Var x(hash_tensor({3, 5}, 1), true), w(hash_tensor({3, 5}, 2), true);
  (x + w * 3.0 + recompute([](const Vars& v) { return v[0] * v[1]; }, {x, x, w})).backward(Tensor::full({3, 5}, 1));
  const Values at = x.value().to_vector<double>(), g = x.grad().to_vector<double>();
  for (size_t i = 0; i < at.size(); ++i) CHECK(g[i] == doctest::Approx(1 + 2 * at[i]));
  CHECK(w.grad().to_vector<double>() == Values(15, 3.0));
}

TEST_CASE("gathered: what a rule is given, and what becomes of what it returns") {
  const Tensor one = Tensor::full({2}, 1);
  const auto run = [&](bool result, const std::vector<size_t>& included, bool same, Values seen) {
    const Var leaf(Tensor::zeros({2}), true), x = result ? leaf * 1.0 : leaf, other(Tensor::zeros({2}), true);
    Values got;
    const Var y = tell({x, same ? x : other}, included, 10, &got);
    (x * 5.0 + y).backward(one);
    CHECK(got == seen);
    CHECK(leaf.grad().to_vector<double>() == Values(2, same ? 25 : 15));
    CHECK(other.grad().defined() != same);
  };
  for (const bool result : {false, true}) {
    run(result, {}, false, {});
    run(result, {0}, false, {5});
    run(result, {1}, false, {0});  // nothing yet
    run(result, {0, 1}, false, {5, 0});
    run(result, {0, 1}, true, {5, 0});  // counted once
    run(result, {1, 0}, true, {5, 0});
    run(result, {1}, true, {5});
    run(result, {0, 0}, false, {5, 0});
  }
  const Var x(Tensor::zeros({2}), true);
  const auto broken = [&](const Tensor& returned) -> std::string {
    const Var y = record(Tensor::zeros({2}), {x}, [&](const Tensor&, Gathered& gathered) -> Grads {
      gathered.include(0);
      return {returned};
    });
    try {
      (x * 5.0 + y).backward(one);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  CHECK(broken({}).find("test_gathered.cpp") != std::string::npos);  // kept to itself what it had included
  CHECK(broken(Tensor::zeros({3})).find("expected (2) f32 on cpu, got (3) f32 on cpu") != std::string::npos);
}

TEST_CASE("gathered: the residual's gradient costs a pre-norm block no pass of its own") {
  const Var x(hash_tensor({8, 6}, 1), true), gamma(hash_tensor({6}, 2), true), beta(hash_tensor({6}, 3), true),
      w(hash_tensor({6, 6}, 4), true);
  const Var y = x + linear(layer_norm(x, gamma, beta), w, {});
  const WorkCount count;
  y.backward(hash_tensor({8, 6}, 5));
  CHECK(count.entries().at("layer_norm_backward").calls == 1);
  CHECK(count.entries().count("add_scaled") == 0);
  CHECK(count.entries().count("binary_forward") == 0);
}

TEST_CASE("gathered: a sum made by the norm that reads it has the bits and gradients of the two ops") {
  const auto run = [](DType dtype, bool together) {
    const auto leaf = [&](const Shape& shape, uint32_t salt) { return Var(hash_tensor(shape, salt).to(dtype), true); };
    const Var x = leaf({2, 37, 24}, 1), branch = leaf({2, 37, 24}, 2), gamma = leaf({24}, 3), beta = leaf({24}, 4);
    const WorkCount count;
    const Var apart = together ? Var() : x + branch;
    const NormedSum y =
        together ? add_layer_norm(x, branch, gamma, beta) : NormedSum{apart, layer_norm(apart, gamma, beta)};
    CHECK(count.entries().count("binary_forward") == (together ? 0 : 1));
    (y.sum * y.normed).backward(hash_tensor({2, 37, 24}, 5).to(dtype));
    Values all;
    for (const Tensor& t : {y.sum.value(), y.normed.value(), x.grad(), branch.grad(), gamma.grad(), beta.grad()})
      for (const double number : t.to_vector<double>()) all.push_back(number);
    return all;
  };
  for (const DType dtype : {DType::f32, DType::f64, DType::bf16}) CHECK(run(dtype, true) == run(dtype, false));
}

}  // namespace sked::test
