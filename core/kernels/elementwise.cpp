#include "core/kernels/elementwise.h"

namespace sked {

const char* name(Unary op) {
  switch (op) {
    case Unary::neg:
      return "neg";
    case Unary::exp:
      return "exp";
    case Unary::log:
      return "log";
    case Unary::sqrt:
      return "sqrt";
    case Unary::reciprocal:
      return "reciprocal";
    case Unary::square:
      return "square";
    case Unary::abs:
      return "abs";
    case Unary::relu:
      return "relu";
    case Unary::gelu:
      return "gelu";
    case Unary::gelu_tanh:
      return "gelu_tanh";
    case Unary::sigmoid:
      return "sigmoid";
    case Unary::log_sigmoid:
      return "log_sigmoid";
    case Unary::softplus:
      return "softplus";
    case Unary::tanh:
      return "tanh";
  }
  return "?";
}

const char* name(Binary op) {
  switch (op) {
    case Binary::add:
      return "add";
    case Binary::sub:
      return "sub";
    case Binary::mul:
      return "mul";
    case Binary::div:
      return "div";
    case Binary::max:
      return "max";
    case Binary::min:
      return "min";
  }
  return "?";
}

const char* name(Activation activation) {
  switch (activation) {
    case Activation::none:
      return "none";
    case Activation::relu:
      return "relu";
    case Activation::gelu:
      return "gelu";
    case Activation::gelu_tanh:
      return "gelu_tanh";
  }
  return "?";
}

Unary unary_of(Activation activation) {
  require(activation != Activation::none, "activation", "expected an activation, got none");
  if (activation == Activation::relu) return Unary::relu;
  return activation == Activation::gelu ? Unary::gelu : Unary::gelu_tanh;
}

namespace {

/// x and t alike and of one shape.
void require_same(const Tensor& x, const Tensor& t, const char* what, const char* where) {
  require_alike(x, t, where);
  require_shape(t, x.shape(), where, what);
}

void check_unary_forward(const char* where, const Tensor& x, const Tensor& y, Unary) { require_same(x, y, "y", where); }

void check_unary_backward(const char* where, const Tensor& x, const Tensor& dy, const Tensor& dx, Unary) {
  require_same(x, dy, "dy", where);
  require_same(x, dx, "dx", where);
}

void check_affine(const char* where, const Tensor& x, const Tensor& y, double, double) {
  require_same(x, y, "y", where);
}

void check_binary(const char* where, const Tensor& a, const Tensor& b, const Tensor& y, Binary) {
  require_alike(a, b, where);
  require_alike(a, y, where);
  require_shape(y, broadcast(a.shape(), b.shape()), where, "y");
}

void check_took_first(const char* where, const Tensor& a, const Tensor& b, const Tensor& mask, Binary op) {
  check_binary(where, a, b, mask, op);
  require(op == Binary::max || op == Binary::min, where, "expected max or min, got ", name(op));
}

[[maybe_unused]] const bool registered =
    kernel::unary_forward.expect(check_unary_forward) && kernel::unary_backward.expect(check_unary_backward) &&
    kernel::affine.expect(check_affine) && kernel::binary_forward.expect(check_binary) &&
    kernel::binary_took_first.expect(check_took_first);

}  // namespace
}  // namespace sked
