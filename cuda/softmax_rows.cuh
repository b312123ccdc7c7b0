#pragma once
// One row of the softmax family by a team of threads, shared with the likelihood.

#include "cuda/approx.cuh"
#include "cuda/teams.cuh"

namespace sked::cuda {

/// A NaN does not count: it shows in the sum.
struct Greater {
  __device__ float operator()(float a, float b) const { return a > b ? a : b; }
};

/// What may be subtracted from a row with this maximum: 0 where it is not finite, so that no ∞ − ∞ arises.
__device__ inline float finite_shift(float max) { return isfinite(max) ? max : 0.0f; }

/// sum = Σ_k exp(x[k] − shift), shift the row's maximum; the same in every lane. kN elements a load: the row is whole
/// packs.
template <int kLanes, class T, int kN = 1>
struct RowSum {
  float shift, sum;

  __device__ RowSum(const Team<kLanes>& team, const T* x, int64_t K) {
    const int64_t first = static_cast<int64_t>(team.lane) * kN, step = int64_t{kLanes} * kN;
    float max = -INFINITY, total = 0;
    for (int64_t k = first; k < K; k += step) {
      const Pack<T, kN> in = load<kN>(x + k);
#pragma unroll
      for (int j = 0; j < kN; ++j) max = Greater{}(widen(in.v[j]), max);
    }
    shift = finite_shift(team.reduce(max, Greater{}, -INFINITY));
    for (int64_t k = first; k < K; k += step) {
      const Pack<T, kN> in = load<kN>(x + k);
#pragma unroll
      for (int j = 0; j < kN; ++j) total += exp_as<T>(widen(in.v[j]) - shift);
    }
    sum = team.sum(total);
  }
};

}  // namespace sked::cuda
