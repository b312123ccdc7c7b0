#pragma once
// Label noise with a known distribution. Each model gives p(noisy label | x, clean label) as rows of probabilities;
// labels are then drawn from the rows. So evaluation can compare with the distribution the training labels came from.
// Everything is drawn at an address (seed, split, example …): the same numbers for any number of threads.

#include <cstdint>

#include "core/names.h"
#include "core/tensor.h"

namespace sked {

/// Noise drawn on clean training labels, by one of the models below or heteroscedastic_noise.h.
enum class LabelNoise { none, symmetric, pair, instance, heteroscedastic };
constexpr std::array<const char*, 5> names_of(LabelNoise) {
  return {"none", "symmetric", "pair", "instance", "heteroscedastic"};
}

/// Symmetric noise: the label is kept with probability 1 - rate, else becomes one of the K-1 other classes, each with
/// rate / (K-1). labels i64 (N) → f32 (N, K). Throws Error unless 0 ≤ rate ≤ 1, K ≥ 2 and the labels are in range.
Tensor symmetric_noise(const Tensor& labels, int64_t classes, double rate);

/// Pair-flip noise (Han et al., "Co-teaching", NeurIPS 2018): with probability `rate` label y becomes (y+1) mod K.
/// labels i64 (N) → f32 (N, K).
Tensor pair_noise(const Tensor& labels, int64_t classes, double rate);

/// Where instance-dependent noise is drawn. `split` tells training (0) and test images (1) apart: they share the
/// projections, but not the draws of their flip rates.
struct InstanceNoise {
  double rate = 0.4;
  uint64_t seed = 0;
  uint64_t split = 0;
  /// Standard deviation of the scores below.
  double sharpness = 4.0;
};

/// Instance-dependent noise (Xia et al., "Part-dependent label noise", NeurIPS 2020, arXiv 2006.07836, Algorithm 2).
/// For image x_i with clean label y, flip rate q_i ~ N(rate, 0.1²) truncated to [0, 1] and a projection w_y ∈ R^{F×K}
/// of standard normals per class:
///     s = x̂_i w_y,  s_y = -∞,  p = q_i softmax(s),  p_y = 1 - q_i.
/// The authors' code takes x̂ = the normalized pixels as they are. Then |x̂| ≈ √F, the scores have a standard deviation
/// of 28 to 55, and the softmax is one-hot on nearly every image. Here x̂ is the image less `mean` (so that what images
/// share does not decide), scaled to the length `sharpness`: the scores of every image are normal with that standard
/// deviation, whatever its contrast. At 4 the likeliest wrong class takes about three quarters of the flips; 0 gives
/// symmetric noise. An image equal to `mean` gets symmetric noise. images u8 (N, H, W, C) or vectors f32 (N, D), labels
/// i64 (N), mean f32 (F = H·W·C or D) → f32 (N, K). Throws Error for other shapes or dtypes, a rate outside [0, 1] or a
/// label out of range.
Tensor instance_noise(const Tensor& images, const Tensor& labels, const Tensor& mean, int64_t classes,
                      const InstanceNoise& noise);

/// The mean image: u8 (N, H, W, C) → f32 (H·W·C), from exact sums; of vectors f32 (N, D) → f32 (D), from sums in
/// f64. Throws Error for N = 0.
Tensor mean_image(const Tensor& images);

/// One label per row of probabilities: f32 (N, K) → i64 (N), row i at the address (seed, split, first + i).
Tensor sample_labels(const Tensor& distributions, uint64_t seed, uint64_t split, int64_t first = 0);

}  // namespace sked
