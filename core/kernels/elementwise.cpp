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

}  // namespace sked
