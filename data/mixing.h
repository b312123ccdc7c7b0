#pragma once
// Mixed batches: mixup (Zhang et al., arXiv 1710.09412) and CutMix (Yun et al., arXiv 1905.04899). Example b is mixed
// with its neighbor b-1 (the first with the last), as torchvision's v2.MixUp and v2.CutMix do.

#include "core/rng.h"
#include "core/tensor.h"
#include "data/image_resample.h"

namespace sked {

/// What a pipeline's text asks for.
struct Mixing {
  enum class Kind { none, mixup, cutmix };
  Kind kind = Kind::none;
  double alpha = 0;  // λ ~ Beta(α, α)
};

/// x_b ← λ x_b + (1-λ) x_{b-1} along the first axis, in place. f32 (B, …).
void mixup(Tensor& x, double lambda);

/// Pastes the window of the neighbor's image into each image (B, H, W, C), f32 or u8, in place.
void cutmix(Tensor& images, const Crop& window);

/// The window of a share 1-λ of the area, centered at (row, column) shares of the image and cut off at its edges:
/// r = ½ sqrt(1-λ), from H·(y-r) to H·(y+r), rounded down.
Crop cutmix_window(const Shape& image, double lambda, double y, double x);

/// λ ~ Beta(α, α), α > 0.
double beta(double alpha, Rng& rng);

/// Mixes a batch: images (B, H, W, C), f32 or under cutmix u8, and f32 targets (B, K), in place, with draws from
/// `rng`.
void mix(const Mixing& mixing, Tensor& images, Tensor& targets, Rng& rng);

}  // namespace sked
