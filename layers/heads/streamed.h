#pragma once
// The Monte Carlo average in the log domain, over samples that never exist all at once.

#include <functional>
#include <vector>

#include "autograd/var.h"

namespace sked {

/// x_s (B,C,…) for the C = `count` samples s = first … first + count − 1: a pure function of `inputs`, differentiable
/// in all of them.
using SampleChunk = std::function<Var(const std::vector<Var>& inputs, int64_t first, int64_t count)>;

/// y (B,…) = log (1/S) Σ_s exp x_s, over S = `samples` samples made `chunk` at a time ("The streaming form" of
/// METHOD.md, cut along s).
///   forward   a running log-sum-exp over the chunks, without a tape: only y is kept
///   backward  ∂y/∂x_s = w_s = exp(x_s − y) / S, which sum to 1 over s: each chunk is made again, now with a tape, and
///   takes
///             w_s ⊙ dy as its cotangent
/// So memory is that of one chunk, whatever S, for one more forward pass. With chunk ≥ S there is one chunk and nothing
/// to recompute: plain autograd.
Var logmeanexp_streamed(const SampleChunk& x, const std::vector<Var>& inputs, int64_t samples, int64_t chunk);

}  // namespace sked
