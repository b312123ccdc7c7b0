#pragma once
// How CPU kernels that know f32 and f64 alone take operands in bf16: each is widened before the call, and what the call
// may have written is rounded back behind it. One conversion an operand: right, not fast.

#include "core/tensor.h"

namespace sked::detail {

inline bool holds_bf16(const Tensor& t) { return t.defined() && t.dtype() == DType::bf16; }
/// Lists are of parameters and their gradients, which are f32 masters.
template <class Other>
bool holds_bf16(const Other&) {
  return false;
}

/// An argument of a kernel, passed on as it is; tensors in bf16 in f32.
template <class Arg>
class Widened {
 public:
  explicit Widened(Arg arg) : arg_(arg) {}
  Arg get() { return arg_; }
  void finish() {}

 private:
  Arg arg_;
};

template <>
class Widened<const Tensor&> {
 public:
  explicit Widened(const Tensor& t) : wide_(holds_bf16(t) ? t.to(DType::f32) : t) {}
  const Tensor& get() const { return wide_; }
  void finish() {}

 private:
  Tensor wide_;
};

template <>
class Widened<Tensor&> {
 public:
  explicit Widened(Tensor& t) : stored_(t), wide_(holds_bf16(t) ? t.to(DType::f32) : t) {}
  Tensor& get() { return wide_; }
  void finish() {
    if (holds_bf16(stored_)) stored_.copy_from(wide_);
  }

 private:
  Tensor& stored_;
  Tensor wide_;
};

}  // namespace sked::detail
