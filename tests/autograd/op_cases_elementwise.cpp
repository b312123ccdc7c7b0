#include "autograd/elementwise.h"
#include "autograd/reduce.h"
#include "autograd/shape.h"
#include "tests/autograd/op_cases.h"

namespace sked::test {

namespace {

using Vars = std::vector<Var>;

/// Both orders of broadcasting, a scalar operand, an outer product and none at all.
void add_binary(std::vector<OpCase>& cases, const std::string& name, Var (*f)(const Var&, const Var&), float lo,
                float hi, bool apart) {
  const auto add = [&](const std::string& variant, Shape a, Shape b) {
    cases.push_back({name + variant, {{a}, {b, lo, hi}}, [f](const Vars& x) { return f(x[0], x[1]); }, apart});
  };
  add("", {2, 3}, {2, 3});
  add("/rows", {2, 3, 4}, {3, 1});
  add("/wider_second", {4}, {2, 3, 4});
  add("/outer", {3, 1}, {1, 4});
  add("/scalar", {2, 3}, {});
  add("/inner_ones", {2, 1, 3, 1}, {2, 4, 1, 2});
}

}  // namespace

std::vector<OpCase> elementwise_cases() {
  std::vector<OpCase> cases;
  const auto unary_case = [&](const std::string& name, Var (*f)(const Var&), OpInput in) {
    cases.push_back({name, {in}, [f](const Vars& x) { return f(x[0]); }});
  };
  const Shape s{3, 5};
  unary_case("unary/neg", [](const Var& x) { return unary(x, Unary::neg); }, {s});
  unary_case("exp", exp, {s});
  unary_case("log", log, {s, 0.25F, 3});
  unary_case("sqrt", sqrt, {s, 0.25F, 3});
  unary_case("reciprocal", reciprocal, {s, 0.25F, 3});
  unary_case("square", square, {s});
  unary_case("abs", abs, {s, -2, 2, {0}});
  unary_case("relu", relu, {s, -2, 2, {0}});
  unary_case("gelu", gelu, {s, -4, 4});
  unary_case("gelu_tanh", gelu_tanh, {s, -4, 4});
  unary_case("sigmoid", sigmoid, {s, -6, 6});
  unary_case("log_sigmoid", log_sigmoid, {s, -6, 6});
  unary_case("softplus", softplus, {s, -6, 6});
  unary_case("tanh", tanh, {s, -3, 3});

  add_binary(
      cases, "operator+", [](const Var& a, const Var& b) { return a + b; }, -2, 2, false);
  add_binary(
      cases, "operator-", [](const Var& a, const Var& b) { return a - b; }, -2, 2, false);
  add_binary(
      cases, "operator*", [](const Var& a, const Var& b) { return a * b; }, -2, 2, false);
  add_binary(
      cases, "operator/", [](const Var& a, const Var& b) { return a / b; }, 0.25F, 2, false);
  add_binary(cases, "maximum", maximum, -2, 2, true);
  add_binary(cases, "minimum", minimum, -2, 2, true);

  unary_case("cast", [](const Var& x) { return cast(x, x.dtype()); }, {s});  // between dtypes: test_bf16.cpp
  unary_case("affine", [](const Var& x) { return affine(x, 2.5, -1); }, {s});
  unary_case("operator*/constant", [](const Var& x) { return 3.0 * x * -0.5; }, {s});
  unary_case("operator/constant", [](const Var& x) { return x / 4.0; }, {s});
  unary_case("operator+/constant", [](const Var& x) { return x + 1.5; }, {s});
  unary_case("operator-/constant", [](const Var& x) { return (2.0 - x) - 0.5; }, {s});
  unary_case("operator-/negated", [](const Var& x) { return -x; }, {s});
  return cases;
}

std::vector<OpCase> reduce_cases() {
  std::vector<OpCase> cases;
  const auto add = [&](const std::string& name, Shape shape, Var (*f)(const Var&), bool apart = false) {
    cases.push_back({name, {{shape}}, [f](const Vars& x) { return f(x[0]); }, apart});
  };
  const Shape s{2, 3, 4};
  add("sum", s, [](const Var& x) { return sum(x); });
  add("sum/first", s, [](const Var& x) { return sum(x, 0); });
  add("sum/middle_kept", s, [](const Var& x) { return sum(x, 1, true); });
  add("sum/last", s, [](const Var& x) { return sum(x, -1); });
  add("sum/of_one", {2, 1, 3}, [](const Var& x) { return sum(x, 1); });
  add("mean", s, [](const Var& x) { return mean(x); });
  add("mean/first_kept", s, [](const Var& x) { return mean(x, 0, true); });
  add("mean/middle", s, [](const Var& x) { return mean(x, 1); });
  add("mean/last", s, [](const Var& x) { return mean(x, -1); });
  add(
      "max/first", s, [](const Var& x) { return max(x, 0); }, true);
  add(
      "max/middle_kept", s, [](const Var& x) { return max(x, 1, true); }, true);
  add(
      "max/last", s, [](const Var& x) { return max(x, -1); }, true);
  add("logsumexp/first", s, [](const Var& x) { return logsumexp(x, 0); });
  add("logsumexp/middle_kept", s, [](const Var& x) { return logsumexp(x, 1, true); });
  add("logsumexp/last", s, [](const Var& x) { return logsumexp(x, -1); });
  add("logmeanexp/middle", s, [](const Var& x) { return logmeanexp(x, 1); });
  add("logmeanexp/last_kept", s, [](const Var& x) { return logmeanexp(x, -1, true); });
  return cases;
}

std::vector<OpCase> shape_cases() {
  std::vector<OpCase> cases;
  const auto add = [&](const std::string& name, Shape shape, Var (*f)(const Var&)) {
    cases.push_back({name, {{shape}}, [f](const Vars& x) { return f(x[0]); }});
  };
  const Shape s{2, 3, 4};
  add("reshape", s, [](const Var& x) { return reshape(x, {4, -1}); });
  add("reshape/shape", s, [](const Var& x) { return reshape(x, Shape{6, 2, 2}); });
  add("permute", s, [](const Var& x) { return permute(x, {2, 0, 1}); });
  add("permute/four", {2, 3, 1, 4}, [](const Var& x) { return permute(x, {0, 3, 1, 2}); });
  add("transpose", s, [](const Var& x) { return transpose(x); });
  add("slice/first", s, [](const Var& x) { return slice(x, 0, 1, 2); });
  add("slice/middle", s, [](const Var& x) { return slice(x, 1, 0, 2); });
  add("slice/last", s, [](const Var& x) { return slice(x, -1, 1, 4); });
  add("broadcast_to", {3, 1}, [](const Var& x) { return broadcast_to(x, {2, 3, 4}); });
  add("broadcast_to/scalar", {}, [](const Var& x) { return broadcast_to(x, {2, 3}); });
  add("broadcast_to/gaps", {1, 3, 1, 2}, [](const Var& x) { return broadcast_to(x, {2, 3, 4, 2}); });
  cases.push_back({"concat/first", {{{1, 3}}, {{2, 3}}}, [](const Vars& x) { return concat(x, 0); }});
  cases.push_back({"concat/last", {{{2, 3}}, {{2, 1}}, {{2, 2}}}, [](const Vars& x) { return concat(x, -1); }});
  return cases;
}

}  // namespace sked::test
