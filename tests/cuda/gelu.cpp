// The exact GELU beside products in bf16, where the GPU takes approximations of its own, over all numbers of bf16.

#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <numbers>
#include <string>
#include <vector>

#include "core/kernels/matmul.h"
#include "tests/common/gpu.h"

namespace sked::test {
namespace {

double cdf(double x) { return 0.5 * std::erfc(-x * std::numbers::sqrt2 / 2); }
double density(double x) { return std::exp(-0.5 * x * x) / std::sqrt(2 * std::numbers::pi); }
double gelu(double x) { return x * cdf(x); }
double gelu_slope(double x) { return cdf(x) + x * density(x); }

/// All bf16 numbers of at most 64.
std::vector<float> numbers() {
  std::vector<float> all;
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto x = std::bit_cast<float>(bits << 16);
    if (std::abs(x) <= 64) all.push_back(x);
  }
  return all;
}

/// Rounding to bf16 is nearly all of it; the rest, and 3e-7 where the GELU's tail is smaller, is cuda/approx.cuh's.
void check_near(const std::string& what, const std::vector<float>& x, const Tensor& got, double (*f)(double)) {
  const std::vector<double> y = got.to(Device::cpu).to_vector<double>();
  const size_t columns = y.size() / x.size();
  for (size_t i = 0; i < y.size(); ++i) {
    const double at = static_cast<double>(x[i / columns]), want = f(at);
    if (std::abs(y[i] - want) > 0x1p-8 * std::abs(want) * 1.125 + 3e-7)
      FAIL_CHECK(what, " of ", at, ": got ", y[i], ", expected ", want);
  }
}

}  // namespace

TEST_CASE("gelu: in bf16 forward and backward are as near as bf16 allows, whole packs or not") {
  if (no_gpu("GELU in bf16")) return;
  const std::vector<float> x = numbers();
  const auto N = static_cast<int64_t>(x.size());
  const auto there = [](const Tensor& t, DType dtype) { return t.to(Device::cuda).to(dtype); };
  for (const int64_t O : {1, 8}) {
    const Tensor in = there(Tensor::from(x, {N, 1}), DType::bf16), w = there(Tensor::full({O, 1}, 1), DType::f32);
    Tensor y = Tensor::empty({N, O}, DType::bf16, Device::cuda), pre = Tensor::like(y), none;
    kernel::linear_forward(in, w, none, y, pre, Activation::gelu);
    check_near("GELU", x, y, gelu);
    check_near("what it was taken of", x, pre, [](double v) { return v; });
    const Tensor up = there(Tensor::full({N, 1}, 1), DType::bf16), back = there(Tensor::full({1, O}, 1), DType::f32);
    Tensor dx = Tensor::like(y), db = Tensor::empty({O}, DType::f32, Device::cuda);
    kernel::linear_backward_activation(up, back, pre, dx, db, Activation::gelu);
    check_near("GELU'", x, dx, gelu_slope);
    double sum = 0;
    for (const float v : x) sum += gelu_slope(static_cast<double>(v));
    for (const double v : db.to(Device::cpu).to_vector<double>()) CHECK(std::abs(v / sum - 1) < 1e-5);
  }
}

TEST_CASE("gelu: in bf16 not a number stays none, and far numbers are themselves or nothing") {
  if (no_gpu("the ends of GELU in bf16")) return;
  const std::vector<float> x{NAN, 1e30F, -1e30F, 300, -300};
  const Tensor in = Tensor::from(x, {5, 1}).to(Device::cuda).to(DType::bf16);
  const Tensor w = Tensor::full({1, 1}, 1).to(Device::cuda);
  Tensor y = Tensor::empty({5, 1}, DType::bf16, Device::cuda), none;
  kernel::linear_forward(in, w, none, y, none, Activation::gelu);
  const std::vector<double> got = y.to(Device::cpu).to_vector<double>(), same = in.to(Device::cpu).to_vector<double>();
  CHECK(std::isnan(got[0]));
  CHECK(got[1] == same[1]);
  CHECK(got[2] == 0);
  CHECK(got[3] == same[3]);
  CHECK(got[4] == 0);
}

}  // namespace sked::test
