#pragma once
// What tests of products in bf16 share.

#include "core/precision.h"
#include "core/tensor.h"

namespace sked::test {

/// While one lives, products are computed in bf16.
struct InBf16 {
  InBf16() { set_product_precision(Precision::bf16); }
  ~InBf16() { set_product_precision(Precision::f32); }
  InBf16(const InBf16&) = delete;
  InBf16& operator=(const InBf16&) = delete;
};

/// Rounded to bf16 and back.
inline Tensor rounded(const Tensor& t) { return t.to(DType::bf16).to(DType::f32); }

}  // namespace sked::test
