#pragma once
// Rows handled by teams of threads: a warp for short rows, a block for long ones.

#include "cuda/launch.cuh"

namespace sked::cuda {

/// Rows of up to this many elements go to a warp: 32 each for a lane.
constexpr int64_t kShortRow = 1024;

/// kLanes threads that share a row: 32 or kThreads.
template <int kLanes>
struct Team {
  int64_t row = global_thread() / kLanes;
  int lane = static_cast<int>(threadIdx.x % kLanes);

  template <class V, class Op>
  __device__ V reduce(V value, Op op, V neutral) const {
    if constexpr (kLanes == kWarp) {
      return warp_reduce(value, op);
    } else {
      return block_reduce(value, op, neutral);
    }
  }
  __device__ float sum(float value) const { return reduce(value, Plus{}, 0.0f); }
};

/// Calls f(lanes constant) with the team for rows of `width`, where rows of a warp's team share a block of kThreads.
template <class F>
void visit_team(int64_t width, F&& f) {
  if (width <= kShortRow) return f(std::integral_constant<int, kWarp>{});
  f(std::integral_constant<int, kThreads>{});
}

/// Blocks for `rows` teams.
template <int kLanes>
int64_t team_blocks(int64_t rows) {
  return ceil_div(rows, kThreads / kLanes);
}

}  // namespace sked::cuda
