#pragma once
// Element by element: y[i] = f(x[i], …), 16 bytes a thread where the pointers allow, one element a thread where not.

#include <algorithm>

#include "cuda/launch.cuh"

namespace sked::cuda {

template <class T, int N, class F, class... Packs>
__device__ Pack<T, N> map_pack(F f, const Packs&... x) {
  Pack<T, N> y;
#pragma unroll
  for (int k = 0; k < N; ++k) y.v[k] = narrow<T>(f(widen(x.v[k])...));
  return y;
}

template <int N, class T, class F, class... In>
__global__ void map_kernel(int64_t n, F f, T* y, const In*... x) {
  const int64_t i = global_thread() * N;
  if (i + N <= n) {
    store(y + i, map_pack<T, N>(f, load<N>(x + i)...));
  } else {
    for (int64_t j = i; j < n; ++j) y[j] = narrow<T>(f(widen(x[j])...));
  }
}

/// y[i] = f(x[i], …) for i < n, in float; y may be one of the x. f is a functor whose call is a device function.
/// Floor: n · (bytes of y's and of every x's element) / memory bandwidth.
template <class F, class T, class... In>
void map(const char* where, int64_t n, F f, T* y, const In*... x) {
  constexpr int N = 16 / static_cast<int>(std::max({sizeof(T), sizeof(In)...}));
  if (aligned16({y, x...})) {
    launch(where, map_kernel<N, T, F, In...>, ceil_div(n, N * kThreads), kThreads, n, f, y, x...);
  } else {
    launch(where, map_kernel<1, T, F, In...>, ceil_div(n, kThreads), kThreads, n, f, y, x...);
  }
}

}  // namespace sked::cuda
