#pragma once
// What follows a linear layer's product while its rows are at hand.

#include <cstdint>

#include "core/kernels/functors.h"

namespace sked::cpu {

/// z ← z + b, unless b is null, and y = f(z) for each of N rows of O elements; y may be z.
template <class T, class F>
void add_bias_and_apply(T* z, const T* b, int64_t N, int64_t O, T* y, F&& f) {
#pragma omp parallel for schedule(static)
  for (int64_t n = 0; n < N; ++n) {
    T *row = z + n * O, *out = y + n * O;
    if (b) {
#pragma omp simd
      for (int64_t o = 0; o < O; ++o) row[o] += b[o];
    }
#pragma omp simd
    for (int64_t o = 0; o < O; ++o) out[o] = f(row[o]);
  }
}

/// The same with the activation's function.
template <class T>
void finish_linear(T* z, const T* b, int64_t N, int64_t O, T* y, Activation act) {
  switch (act) {
    case Activation::relu:
      return add_bias_and_apply(z, b, N, O, y, [](T t) { return functor::Relu::forward(t); });
    case Activation::gelu:
      return add_bias_and_apply(z, b, N, O, y, [](T t) { return functor::Gelu::forward(t); });
    case Activation::gelu_tanh:
      return add_bias_and_apply(z, b, N, O, y, [](T t) { return functor::GeluTanh::forward(t); });
    case Activation::none:  // z is y
      if (b) add_bias_and_apply(z, b, N, O, y, [](T t) { return t; });
  }
}

}  // namespace sked::cpu
