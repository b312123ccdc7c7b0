#pragma once
// What follows a linear layer's product while its rows are at hand.

#include <cstdint>

#include "core/kernels/functors.h"

namespace sked::cpu {

/// pre = z + b, y = f(pre) for each of N rows of O elements; b and pre may be null, and z may be y or pre.
template <class T, class F>
void add_bias_and_apply(const T* z, const T* b, int64_t N, int64_t O, T* pre, T* y, F&& f) {
#pragma omp parallel for schedule(static)
  for (int64_t n = 0; n < N; ++n) {
#pragma omp simd
    for (int64_t o = 0; o < O; ++o) {
      const T t = b ? z[n * O + o] + b[o] : z[n * O + o];
      if (pre) pre[n * O + o] = t;
      y[n * O + o] = f(t);
    }
  }
}

/// The same with the activation's function.
template <class T>
void finish_linear(const T* z, const T* b, int64_t N, int64_t O, T* pre, T* y, Activation act) {
  switch (act) {
    case Activation::relu:
      return add_bias_and_apply(z, b, N, O, pre, y, [](T t) { return functor::Relu::forward(t); });
    case Activation::gelu:
      return add_bias_and_apply(z, b, N, O, pre, y, [](T t) { return functor::Gelu::forward(t); });
    case Activation::gelu_tanh:
      return add_bias_and_apply(z, b, N, O, pre, y, [](T t) { return functor::GeluTanh::forward(t); });
    case Activation::none:
      if (b || z != y) add_bias_and_apply<T>(z, b, N, O, nullptr, y, [](T t) { return t; });
  }
}

}  // namespace sked::cpu
