// Activations in bf16: every op on rounded inputs gives what it gives in f32, rounded; parameters beside them stay f32
// masters, and so do their gradients.

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "autograd/elementwise.h"
#include "tests/autograd/op_cases.h"
#include "tests/common/hash_weights.h"

namespace sked::test {

namespace {

struct Outcome {
  Tensor y;
  TensorList gradients;
};

/// f and its gradients for a cotangent of hashed numbers that bf16 holds.
Outcome run(const OpCase& op, const TensorList& inputs) {
  std::vector<Var> leaves;
  for (const Tensor& x : inputs) leaves.push_back(Var(x, true));
  const Var y = op.f(leaves);
  y.backward(hash_tensor(y.shape(), 5).to(DType::bf16).to(y.dtype()));
  Outcome result{y.value(), {}};
  for (const Var& leaf : leaves) result.gradients.push_back(leaf.grad());
  return result;
}

/// What a few roundings to 8 bits may move: of each element, and of the largest.
void near(const Tensor& got, const Tensor& expected) {
  constexpr double kRelative = 0.02;
  REQUIRE(got.defined() == expected.defined());
  if (!expected.defined()) return;
  const std::vector<double> a = got.to_vector<double>(), b = expected.to_vector<double>();
  REQUIRE(a.size() == b.size());
  double largest = 0, worst = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    largest = std::max(largest, std::abs(b[i]));
    worst = std::max(worst, std::abs(a[i] - b[i]));
  }
  CHECK(worst <= kRelative * std::max(1.0, largest));
}

/// The first inputs of these that are parameters, and how many there may be.
const std::map<std::string, size_t> kParameters = {{"linear", 2},        {"mlp", 4},        {"conv2d", 2},
                                                   {"batch_norm", 2},    {"layer_norm", 2}, {"group_norm", 2},
                                                   {"add_layer_norm", 2}};

bool is_parameter(const OpCase& op, size_t input) {
  const auto found = kParameters.find(op.name.substr(0, op.name.find('/')));
  return found != kParameters.end() && input >= 1 && input <= found->second;
}

/// The case with its activations in bf16 and its parameters in `masters`, beside the same numbers in f32.
void compare(const OpCase& op, DType masters) {
  INFO(op.name << " with parameters in " << masters);
  TensorList exact, rounded;
  for (size_t i = 0; const Tensor& x : op_inputs(op, DType::f32)) {
    rounded.push_back(x.to(is_parameter(op, i++) ? masters : DType::bf16));
    exact.push_back(rounded.back().to(DType::f32));
  }
  const Outcome got = run(op, rounded), expected = run(op, exact);
  CHECK(got.y.dtype() == DType::bf16);
  near(got.y, expected.y);
  for (size_t i = 0; i < exact.size(); ++i) {
    INFO("gradient of input " << i);
    if (got.gradients[i].defined()) CHECK(got.gradients[i].dtype() == rounded[i].dtype());
    near(got.gradients[i], expected.gradients[i]);
  }
}

}  // namespace

TEST_CASE("bf16: every op that networks are made of, all operands in bf16") {
  for (const OpCase& op : op_cases()) {
    if (op.apart) continue;  // rounding decides anew which of two is larger
    compare(op, DType::bf16);
  }
}

TEST_CASE("bf16: parameters beside activations in bf16 stay f32, and their gradients too") {
  size_t compared = 0;
  for (const OpCase& op : op_cases()) {
    if (!kParameters.contains(op.name.substr(0, op.name.find('/')))) continue;
    compare(op, DType::f32);
    ++compared;
  }
  CHECK(compared >= 20);
}

TEST_CASE("bf16: cast rounds to nearest even, and gradients come back in the dtype they left") {
  const Var x(Tensor::from(std::vector<float>{1, 1.00390625F, 1.01171875F, -3.1415927F}, {4}), true);
  const Var y = cast(x, DType::bf16);
  CHECK(y.value().to_vector<float>() == std::vector<float>{1, 1, 1.015625F, -3.140625F});
  y.backward(Tensor::from(std::vector<float>{1, 2, 3, 4}, {4}).to(DType::bf16));
  CHECK(x.grad().dtype() == DType::f32);
  CHECK(x.grad().to_vector<float>() == std::vector<float>{1, 2, 3, 4});
  CHECK(cast(x, DType::f32).value().shares_storage(x.value()));
  CHECK_THROWS_WITH(cast(x, DType::i64), "[cast] expected a floating dtype, got i64");
}

}  // namespace sked::test
