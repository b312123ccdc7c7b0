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
  if (act != Activation::none)
    return functor::visit(act, [=](auto f) { add_bias_and_apply(z, b, N, O, y, [f](T t) { return f.forward(t); }); });
  if (b) add_bias_and_apply(z, b, N, O, y, [](T t) { return t; });  // z is y
}

}  // namespace sked::cpu
