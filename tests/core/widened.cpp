// Operands in bf16 on the CPU: kernels get their values in f32 and have their results rounded.

#include "core/widened.h"

#include <doctest/doctest.h>

#include "core/kernels/elementwise.h"
#include "core/kernels/matmul.h"
#include "core/kernels/memory.h"

namespace sked::test {

namespace {

Tensor in_bf16(const std::vector<float>& values, const Shape& shape) {
  return Tensor::from(values, shape).to(DType::bf16);
}

/// Each number as bf16 holds it.
std::vector<float> rounded(std::vector<float> values) {
  for (float& v : values) v = static_cast<float>(bf16(v));
  return values;
}

}  // namespace

TEST_CASE("widened: a result is the f32 result of the rounded inputs, rounded") {
  const Tensor x = in_bf16({0.1F, 2.7F, -0.3F}, {3});
  Tensor y = Tensor::like(x), exact = Tensor::empty({3});
  kernel::unary_forward(x, y, Unary::gelu);
  kernel::unary_forward(x.to(DType::f32), exact, Unary::gelu);
  CHECK(y.dtype() == DType::bf16);
  CHECK(y.to_vector<float>() == rounded(exact.to_vector<float>()));
}

TEST_CASE("widened: what a call reads and writes, and operands that stay f32") {
  Tensor y = in_bf16({1, 2, 3}, {3});
  kernel::affine(y, y, 2, 0.5);  // in place
  CHECK(y.to_vector<float>() == std::vector<float>{2.5F, 4.5F, 6.5F});
  kernel::add_scaled(in_bf16({1, 1, 1}, {3}), y, 0.5);  // adds to what is there
  CHECK(y.to_vector<float>() == std::vector<float>{3, 5, 7});

  const Tensor x = in_bf16({1, 2}, {1, 2}), w = Tensor::from(std::vector<float>{1.001F, 0, 0, 1}, {2, 2}), none;
  Tensor out = in_bf16({0, 0}, {1, 2}), pre, dw = Tensor::empty({2, 2}), db;
  kernel::linear_forward(x, w, none, out, pre, Activation::none);
  CHECK(out.to_vector<float>() == rounded({1.001F, 2}));
  kernel::linear_backward_weight(out, x, dw, db);
  CHECK(dw.dtype() == DType::f32);
  CHECK(dw.to_vector<float>() == std::vector<float>{1, 2, 2, 4});
}

TEST_CASE("widened: what only moves elements moves them as they are") {
  const Tensor x = in_bf16({1, 2, 3, 4, 5, 6}, {2, 3});
  Tensor y = Tensor::empty({3, 2}, DType::bf16);
  kernel::permute(x, y, {1, 0});
  CHECK(y.to_vector<float>() == std::vector<float>{1, 4, 2, 5, 3, 6});
  Tensor row = Tensor::empty({1, 3}, DType::bf16);
  kernel::slice(x, row, 0, 1);
  CHECK(row.to_vector<float>() == std::vector<float>{4, 5, 6});
}

}  // namespace sked::test
