#pragma once
// One row of the softmax family by a team of threads, shared with the likelihood.

#include "core/math.h"
#include "cuda/teams.cuh"

namespace sked::cuda {

/// A NaN does not count: it shows in the sum.
struct Greater {
  __device__ float operator()(float a, float b) const { return a > b ? a : b; }
};

/// What may be subtracted from a row with this maximum: 0 where it is not finite, so that no ∞ − ∞ arises.
__device__ inline float finite_shift(float max) { return isfinite(max) ? max : 0.0f; }

/// sum = Σ_k exp(x[k] − shift), shift the row's maximum; the same in every lane.
template <int kLanes, class T>
struct RowSum {
  float shift, sum;

  __device__ RowSum(const Team<kLanes>& team, const T* x, int64_t K) {
    float max = -INFINITY, total = 0;
    for (int64_t k = team.lane; k < K; k += kLanes) max = Greater{}(widen(x[k]), max);
    shift = finite_shift(team.reduce(max, Greater{}, -INFINITY));
    for (int64_t k = team.lane; k < K; k += kLanes) total += math::exp(widen(x[k]) - shift);
    sum = team.sum(total);
  }
};

}  // namespace sked::cuda
