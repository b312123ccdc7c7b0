#pragma once
// Addressed random tensors (core/rng.h): the same numbers on every device, for any number of threads.

#include "core/kernel.h"
#include "core/rng.h"

namespace sked {

/// Where a tensor of noise lies among all samples and coordinates. With antithetic pairs, samples 2i and 2i + 1 are ε
/// and −ε for the ε of sample i: the mean of any function of them stays unbiased.
struct NoiseOrigin {
  NoiseOrigin(int64_t sample = 0, int64_t coordinate = 0, bool antithetic = false)
      : sample(sample), coordinate(coordinate), antithetic(antithetic) {}
  int64_t sample, coordinate;  // with antithetic pairs an even sample; a coordinate that is a multiple of 4
  bool antithetic;
};

}  // namespace sked

namespace sked::kernel {

/// noise[b,s,j] ~ N(0,1) at (address, examples[b], origin.sample + s, origin.coordinate + j). examples (B) i64: the
/// global index of each row's example; noise (B,S,J) f32, or f64 holding the same f32 numbers.
inline Kernel<void(const Tensor& examples, Tensor& noise, RngAddress address, NoiseOrigin origin)> gaussian_noise{
    "gaussian_noise"};

/// y = x · keep / (1 − p), keep ~ Bernoulli(1 − p) of element i of the whole from word i mod 4 of block i / 4 at
/// (address, 0, 0), the block's upper 32 bits counting as the sample. x is a part of the whole: its first element is
/// element `first` ≥ 0 of that. Linear in x with a mask that is regenerated: the backward pass is the same kernel on
/// dy. 0 ≤ p < 1. y may be x.
inline Kernel<void(const Tensor& x, Tensor& y, RngAddress address, int64_t first, double p)> dropout{"dropout"};

/// Like dropout, but one draw for each row of the first axis (stochastic depth, Huang et al., arXiv 1603.09382), x's
/// first row being row `first` of the whole.
inline Kernel<void(const Tensor& x, Tensor& y, RngAddress address, int64_t first, double p)> drop_path{"drop_path"};

}  // namespace sked::kernel
