// Every case against PyTorch in float64 (tests/fixtures/ops.py): forward and all gradients, in f64 and in f32.

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "core/safetensors.h"
#include "tests/autograd/op_cases.h"
#include "tests/common/hash_weights.h"

namespace sked::test {

namespace {

/// |got − expected| / (1 + |expected|) at its worst; infinite where shapes differ or something is not a number.
double worst_error(const Tensor& got, const Tensor& expected) {
  if (!got.defined() || got.shape() != expected.shape()) return INFINITY;
  const std::vector<double> g = got.to_vector<double>(), e = expected.to_vector<double>();
  double worst = 0;
  for (size_t i = 0; i < g.size(); ++i) {
    const double error = std::abs(g[i] - e[i]) / (1 + std::abs(e[i]));
    if (!(error <= worst)) worst = std::isnan(error) ? INFINITY : error;
  }
  return worst;
}

/// Runs a case in `dtype` and compares with the fixture. Returns the worst error.
double compare(const OpCase& op, DType dtype, double tolerance, const TensorFile& file) {
  std::vector<Var> inputs;
  for (const Tensor& x : op_inputs(op, dtype)) inputs.emplace_back(x, true);
  const Var y = op.f(inputs);
  y.backward(hash_tensor(y.shape(), hash_name(op.name + "/dy"), 2).to(dtype));
  double worst = 0;
  const auto check = [&](const Tensor& got, const std::string& name) {
    const Tensor& expected = file.at(name);
    const double error = worst_error(got, expected);
    CHECK_MESSAGE(error <= tolerance, name << " in " << std::string(sked::name(dtype)) << ": error " << error
                                           << " above " << tolerance << ", got " << got << ", expected " << expected);
    worst = std::max(worst, error);
  };
  check(y.value(), op.name + "/y");
  for (size_t i = 0; i < inputs.size(); ++i) check(inputs[i].grad(), op.name + "/d" + std::to_string(i));
  return worst;
}

}  // namespace

TEST_CASE("every case against PyTorch") {
  const TensorFile file = load_safetensors("tests/fixtures/ops.safetensors");
  double worst64 = 0, worst32 = 0;
  for (const OpCase& op : op_cases()) {
    REQUIRE_MESSAGE(file.contains(op.name + "/y"), "no fixture for " << op.name << ": add it to tests/fixtures/ops.py");
    // Both sides round to 2^-53 and sum a few dozen terms, each in its own order: measured 9e-16.
    worst64 = std::max(worst64, compare(op, DType::f64, 4e-15, file));
    // The whole rounding error of f32, for it is compared with the same float64 numbers: measured 5e-7.
    worst32 = std::max(worst32, compare(op, DType::f32, 2e-6, file));
  }
  MESSAGE("worst error: f64 ", worst64, ", f32 ", worst32);
}

}  // namespace sked::test
