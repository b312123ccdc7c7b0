#pragma once
// Functions of numbers that become bf16, by the card's own approximations: their errors show in no bf16, half a unit in
// whose last place is 2^-9 to 2^-8 of a number. What stays f32 is computed by core/math.h, as on the CPU.

#include <cmath>
#include <type_traits>

#include "core/kernels/functors.h"
#include "core/math.h"
#include "cuda/launch.cuh"

namespace sked::cuda {

/// 2^x, relative error 2^-22; 0 below 2^-126.
__device__ inline float approx_exp2(float x) {
#ifdef __CUDA_ARCH__
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#else
  return exp2f(x);
#endif
}

/// 1 / x, relative error 2^-23.
__device__ inline float approx_reciprocal(float x) {
#ifdef __CUDA_ARCH__
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#else
  return 1.0f / x;
#endif
}

/// exp(x) of what is or becomes T: 2 instructions for bf16 instead of 20.
template <class T>
__device__ float exp_as(float x) {
  if constexpr (std::is_same_v<T, bf16>) {
    return approx_exp2(x * 1.4426950408889634f);
  } else {
    return math::exp(x);
  }
}

/// functor::Gelu for bf16. Φ(−|x|) = e^(−x²/2) P(t) / 2, t = 1 / (1 + 0.3275911 |x|/√2), with the polynomial of
/// Abramowitz & Stegun, Handbook of Mathematical Functions, 7.1.26. The derivative's density has the same exponential.
/// |error| ≤ 3e-7, and relatively 2^-11 of x Φ(x) for x ≥ −4; where it is larger x Φ(x) is below 2e-4.
struct GeluBf16 {
  struct Parts {
    float cdf, power;  // Φ(x), e^(−x²/2)
    __device__ explicit Parts(float x) : power(approx_exp2(x * x * -0.72134752044448170f)) {
      const float t = approx_reciprocal(1.0f + 0.23164189f * fabsf(x));
      const float p = math::detail::horner(t, 0.127414796f, -0.142248368f, 0.710706870f, -0.726576013f, 0.530702714f);
      const float tail = t * p * power;
      cdf = x > 0.0f ? 1.0f - tail : tail;
    }
  };
  __device__ static float forward(float x) { return x * Parts(x).cdf; }
  __device__ static float derivative(float x) {
    const Parts parts(x);
    return parts.cdf + x * (0.39894228040143267794f * parts.power);
  }
};

/// F, or what stands for it where its results become T.
template <class T, class F>
using ActivationAs = std::conditional_t<std::is_same_v<T, bf16> && std::is_same_v<F, functor::Gelu>, GeluBf16, F>;

}  // namespace sked::cuda
