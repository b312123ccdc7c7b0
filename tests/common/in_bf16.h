#pragma once
// What tests of products in bf16 share.

#include "core/precision.h"
#include "core/tensor.h"

namespace sked::test {

/// While one lives, products are computed in that precision.
class ProductsIn {
 public:
  explicit ProductsIn(Precision precision) : before_(product_precision()) { set_product_precision(precision); }
  ~ProductsIn() { set_product_precision(before_); }
  ProductsIn(const ProductsIn&) = delete;
  ProductsIn& operator=(const ProductsIn&) = delete;

 private:
  const Precision before_;
};

struct InBf16 : ProductsIn {
  InBf16() : ProductsIn(Precision::bf16) {}
};

/// While one lives, networks keep their activations in bf16.
class ActivationsInBf16 {
 public:
  ActivationsInBf16() : before_(activation_dtype()) { set_activation_dtype(DType::bf16); }
  ~ActivationsInBf16() { set_activation_dtype(before_); }
  ActivationsInBf16(const ActivationsInBf16&) = delete;
  ActivationsInBf16& operator=(const ActivationsInBf16&) = delete;

 private:
  const DType before_;
};

/// Both, as with --precision bf16 on a GPU.
struct Bf16Training {
  InBf16 products;
  ActivationsInBf16 activations;
};

/// Rounded to bf16 and back.
inline Tensor rounded(const Tensor& t) { return t.to(DType::bf16).to(DType::f32); }

}  // namespace sked::test
