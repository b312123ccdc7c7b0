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

/// Rounded to bf16 and back.
inline Tensor rounded(const Tensor& t) { return t.to(DType::bf16).to(DType::f32); }

}  // namespace sked::test
