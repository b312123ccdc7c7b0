// Var and the tape: accumulation, aliasing, lifetime, errors.

#include <doctest/doctest.h>

#include <vector>

#include "autograd/elementwise.h"
#include "autograd/matmul.h"
#include "autograd/random.h"
#include "autograd/reduce.h"
#include "autograd/shape.h"
#include "core/allocator.h"

namespace sked::test {

namespace {

Var leaf(const std::vector<double>& values) {
  return Var(Tensor::from(values, Shape{static_cast<int64_t>(values.size())}), true);
}

std::vector<double> grad_of(const Var& x) { return x.grad().to_vector<double>(); }

using Values = std::vector<double>;

}  // namespace

TEST_CASE("a leaf accumulates over uses and over backward passes") {
  const Var x = leaf({1, 2, 3});
  sum(x * x).backward();
  CHECK(grad_of(x) == Values{2, 4, 6});
  sum(x + x).backward();
  CHECK(grad_of(x) == Values{4, 6, 8});
  Var copy = x;
  copy.clear_grad();
  CHECK_FALSE(x.grad().defined());
}

TEST_CASE("diamonds: every path counts once") {
  const Var x = leaf({2, -3});
  const Var a = x * 3.0, b = square(x);
  const Var c = a * b, d = a + b;
  sum(c * d).backward();  // 3x³ (3x + x²) = 9x⁴ + 3x⁵: 36x³ + 15x⁴
  CHECK(grad_of(x) == Values{36 * 8 + 15 * 16, 36 * -27 + 15 * 81});
}

TEST_CASE("a gradient handed to several inputs is never added to in place") {
  const Var a = leaf({1, 2}), b = leaf({3, 4});
  // dy itself goes to both operands; a then gets more.
  (sum(a + b) + sum(a * 10.0)).backward();
  CHECK(grad_of(a) == Values{11, 11});
  CHECK(grad_of(b) == Values{1, 1});

  Var c = leaf({1, 2}), d = leaf({3, 4});
  const Tensor cotangent = Tensor::from(Values{5, 6}, {2});
  (c + d).backward(cotangent);
  (c + d).backward(cotangent);
  CHECK(grad_of(c) == Values{10, 12});
  CHECK(grad_of(d) == Values{10, 12});
  CHECK(cotangent.to_vector<double>() == Values{5, 6});

  // Writing to one leaf's gradient leaves the other's alone.
  Var e = leaf({1}), f = leaf({1});
  (e + f).backward();
  e.mutable_grad().fill(7);
  CHECK(grad_of(e) == Values{7});
  CHECK(grad_of(f) == Values{1});
}

TEST_CASE("a residual connection passes its gradient on without a copy") {
  const Var x(Tensor::zeros({4}), true), y(Tensor::zeros({4}), true);
  const Tensor cotangent = Tensor::full({4}, 2);
  (x + y).backward(cotangent);
  CHECK(x.grad().shares_storage(cotangent));
  CHECK(y.grad().shares_storage(cotangent));
}

TEST_CASE("reshape and an idle dropout share storage") {
  const Var x(Tensor::zeros({4, 6}), true);
  CHECK(reshape(x, {8, -1}).value().shares_storage(x.value()));
  CHECK(dropout(x, 0, {}).value().shares_storage(x.value()));
  CHECK(slice(x, 0, 1, 3).value().shares_storage(x.value()));
}

TEST_CASE("what needs no gradient gets none") {
  const Var x(Tensor::full({2, 3}, 1), false), w(Tensor::full({4, 3}, 1), true), b(Tensor::zeros({4}), true);
  sum(linear(x, w, b)).backward();
  CHECK_FALSE(x.grad().defined());
  CHECK(w.grad().to_vector<double>() == Values(12, 2.0));
  CHECK(b.grad().to_vector<double>() == Values(4, 2.0));

  Var frozen(Tensor::full({4, 3}, 1), true);
  frozen.set_requires_grad(false);
  sum(linear(x, frozen, b)).backward();
  CHECK_FALSE(frozen.grad().defined());
  CHECK(b.grad().to_vector<double>() == Values(4, 4.0));

  const Var y = leaf({1, 2});
  sum(y.detach() * y).backward();
  CHECK(grad_of(y) == Values{1, 2});
}

TEST_CASE("NoGrad records nothing, and nests") {
  const Var x = leaf({1, 2});
  CHECK(NoGrad::recording());
  {
    const NoGrad off;
    CHECK_FALSE(exp(x).requires_grad());
    {
      const NoGrad on(false);
      CHECK(exp(x).requires_grad());
    }
    CHECK_FALSE(NoGrad::recording());
  }
  CHECK(exp(x).requires_grad());
  // What a rule captured is dropped at once: nobody else holds the value.
  const NoGrad off;
  Tensor held = Tensor::zeros({2});
  const Var y = record(Tensor::zeros({2}), {x}, [held](const Tensor& dy) -> Grads { return {dy}; });
  CHECK(held.unique());
}

TEST_CASE("backward frees what rules have saved; values nobody saved go earlier") {
  const Var x(Tensor::full({1 << 16}, 0.5), true);
  const size_t before = allocator(Device::cpu).stats().live;
  const size_t one = x.value().bytes();
  {
    Var y = x + 1.0;  // saves nothing: of three steps only the last value lives
    y = y * 2.0;
    y = y - 1.0;
    CHECK(allocator(Device::cpu).stats().live - before == CachingAllocator::rounded(one));
  }
  const Var total = sum(exp(exp(x)));
  CHECK(allocator(Device::cpu).stats().live > before + one);
  total.backward();
  CHECK(allocator(Device::cpu).stats().live <= before + CachingAllocator::rounded(one) + 4096);  // the gradient stays
}

TEST_CASE("a second backward through one tape is an error") {
  const Var x = leaf({1, 2});
  const Var y = exp(x), z = sum(y);
  z.backward();
  const std::string again = "the tape was freed by an earlier backward()";
  const auto message = [](const Var& v) -> std::string {
    try {
      v.backward();
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  CHECK(message(z).find(again) != std::string::npos);
  // Also through a new op on an old value, which leaves the tape usable for others.
  CHECK(message(sum(y * 2.0)).find(again) != std::string::npos);
  Values grad = grad_of(x);
  sum(x * 2.0).backward();
  CHECK(grad_of(x) == Values{grad[0] + 2, grad[1] + 2});
}

TEST_CASE("chains of 100000 ops: backward, and being dropped without one") {
  const Var x = leaf({1});
  const auto chain = [&] {
    Var y = x;
    for (int i = 0; i < 100000; ++i) y = y + 1.0;
    return y;
  };
  chain();  // dropped
  chain().backward();
  CHECK(grad_of(x) == Values{1});

  // Rules that capture Vars hang on each other too.
  Var y = x;
  for (int i = 0; i < 100000; ++i) {
    y = record(y.value(), {y}, [y](const Tensor& dy) -> Grads { return {dy}; });
  }
  y = Var();
}

TEST_CASE("errors say what was expected and what came") {
  const Var x(Tensor::zeros({2, 3}), true);
  CHECK_THROWS_WITH_AS(x.backward(), "[backward] expected one element or a cotangent, got (2, 3) f32 on cpu", Error);
  CHECK_THROWS_AS(exp(x).backward(Tensor::zeros({3, 2})), Error);
  CHECK_THROWS_AS(exp(x).backward(Tensor::zeros({2, 3}, DType::f64)), Error);
  CHECK_THROWS_AS(sum(x.detach()).backward(), Error);
  CHECK_THROWS_AS(Var().value(), Error);
  CHECK_THROWS_AS(Var(Tensor{}), Error);
  CHECK_THROWS_AS(Var(Tensor::zeros({2}, DType::i64), true), Error);
  CHECK_THROWS_AS(exp(x).set_requires_grad(false), Error);
  CHECK_THROWS_AS(exp(x).mutable_value(), Error);
  CHECK_THROWS_AS(x + Var(Tensor::zeros({2, 3}, DType::f64)), Error);
  CHECK_THROWS_AS(x + Var(Tensor::zeros({4})), Error);
}

TEST_CASE("a rule's gradients are checked, and the error names the op's place") {
  const Var x(Tensor::zeros({2, 3}), true);
  const auto run = [&](Grads grads) {
    const Var y = record(Tensor::zeros({2, 3}), {x}, [grads](const Tensor&) { return grads; });
    y.backward(Tensor::zeros({2, 3}));
  };
  const auto message = [&](Grads grads) -> std::string {
    try {
      run(std::move(grads));
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  const std::string wrong_shape = message({Tensor::zeros({3, 2})});
  CHECK(wrong_shape.find("gradient of input 0") != std::string::npos);
  CHECK(wrong_shape.find("test_tape.cpp:") != std::string::npos);
  CHECK(wrong_shape.find("expected (2, 3) f32 on cpu, got (3, 2) f32 on cpu") != std::string::npos);
  CHECK(message({Tensor::zeros({2, 3}, DType::f64)}).find("got (2, 3) f64") != std::string::npos);
  CHECK(message({}).find("expected 1 gradients, got 0") != std::string::npos);
  run({Tensor()});  // undefined counts as zero
  CHECK_FALSE(x.grad().defined());
}

TEST_CASE("an error inside a backward leaves no stale gradients behind") {
  const Var x = leaf({1, 2});
  const Var y = x * 3.0;
  const Var bad = record(y.value().clone(), {y}, [](const Tensor&) -> Grads { fail("rule", "broken on purpose"); });
  CHECK_THROWS_AS((sum(y * 5.0) + sum(bad)).backward(), Error);
  const double before = x.grad().defined() ? grad_of(x)[0] : 0;
  sum(y).backward();
  CHECK(grad_of(x)[0] - before == 3);
}

TEST_CASE("sum_to undoes every kind of broadcasting") {
  const auto check = [](Shape from, Shape to) {
    const Var x(Tensor::full(from, 1, DType::f64), true);
    CHECK(
        sum_to(Tensor::full(to, 1, DType::f64), from).to_vector<double>() ==
        Values(static_cast<size_t>(from.numel()), static_cast<double>(to.numel()) / static_cast<double>(from.numel())));
  };
  check({}, {});
  check({}, {2, 3});
  check({1}, {5});
  check({3}, {4, 2, 3});
  check({2, 1, 3}, {2, 5, 3});
  check({1, 2, 1, 3, 1}, {4, 2, 5, 3, 2});
  check({2, 1, 1, 2}, {3, 2, 2, 3, 2});
  check({1, 1}, {1, 1});
  CHECK(sum_to(Tensor::zeros({0, 3}), {3}).to_vector<double>() == Values{0, 0, 0});
  CHECK_THROWS_AS(sum_to(Tensor::zeros({2, 3}), {2}), Error);
}

}  // namespace sked::test
