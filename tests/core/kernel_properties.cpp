// What no single call of a kernel shows; the calls themselves are in tests/kernels.

#include <doctest/doctest.h>

#include <cmath>

#include "core/kernels/matmul.h"
#include "core/kernels/optimizer.h"
#include "core/kernels/random.h"
#include "tests/common/hash_weights.h"
#include "tests/common/in_bf16.h"

namespace sked::test {

TEST_CASE("dropout: keeps a share of 1 − p and the mean") {
  const Tensor ones = Tensor::full({100000}, 1.0);
  Tensor y = Tensor::like(ones);
  kernel::dropout(ones, y, {31, 32, 33}, 0, 0.3);
  double mean = 0;
  for (double v : y.to_vector<double>()) mean += v / 100000;
  CHECK(std::abs(mean - 1) < 4 * std::sqrt(0.3 / 0.7 / 100000));  // four standard errors
}

TEST_CASE("adam_step: a zero gradient moves nothing but the decay") {
  TensorList p{Tensor::full({2}, 1.0)}, m{Tensor::zeros({2})}, v{Tensor::zeros({2})}, none;
  kernel::adam_step(p, {Tensor::zeros({2})}, m, v, none, none, {0.5}, Tensor(), {0.1, 0.9, 0.999, 1e-8, true, 1});
  for (const double value : p[0].to_vector<double>()) CHECK(value == doctest::Approx(0.95).epsilon(1e-7));
}

TEST_CASE("ema_step: what does not change stays, bit for bit") {
  const Tensor values = hash_tensor({16384}, 7, 2);  // with decays near 1 it would drift away otherwise
  TensorList still{values.clone()};
  for (int i = 0; i < 100; ++i) kernel::ema_step(still, {values}, 0.9999);
  CHECK(still[0].to_vector<float>() == values.to_vector<float>());
}

TEST_CASE("sgd_step, adam_step, ema_step: nothing to do") {
  TensorList none;
  kernel::sgd_step(none, {}, none, none, none, {}, Tensor(), {0.1, 0, false, true});
  kernel::adam_step(none, {}, none, none, none, none, {}, Tensor(), {0.1, 0.9, 0.999, 1e-8, true, 1});
  kernel::ema_step(none, {}, 0.9);
}

TEST_CASE("matmul: of factors in bf16 into f32, not rounded again") {
  const Tensor a = rounded(hash_tensor({5, 7}, 1)), b = rounded(hash_tensor({7, 3}, 2));
  Tensor want = hash_tensor({5, 3}, 3), got = want.clone();
  kernel::matmul(a, b, want, false, false, true);
  kernel::matmul(a.to(DType::bf16), b.to(DType::bf16), got, false, false, true);
  CHECK(got.to_vector<float>() == want.to_vector<float>());
  CHECK(got.to_vector<float>() != rounded(want).to_vector<float>());
}

}  // namespace sked::test
