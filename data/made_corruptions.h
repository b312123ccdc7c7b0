#pragma once
// Corruptions of our own making, for any images and without a download. Their formulas and strengths are those of
// CIFAR-10-C where a corruption has a name of it (Hendrycks & Dietterich, arXiv 1903.12261, make_cifar_c.py), their
// random numbers are not: what is measured on them is no number of CIFAR-10-C.

#include <array>
#include <cstdint>
#include <memory>

#include "core/names.h"
#include "data/corrupted.h"

namespace sked {

enum class MadeCorruption { gaussian_noise, impulse_noise, gaussian_blur, brightness, contrast };
constexpr std::array<const char*, 5> names_of(MadeCorruption) {
  return {"gaussian_noise", "impulse_noise", "gaussian_blur", "brightness", "contrast"};
}

/// image u8 (H, W, C), C = 1 or 3, at `severity` 1 to 5, in a new tensor; x in [0, 1], rounded at the end:
///   gaussian_noise  x + c ε, ε standard normal, drawn at the address of `example`; c .04 .06 .08 .09 .1
///   impulse_noise   a share c of the values becomes 0 or 1, either by half; c .01 .02 .03 .05 .07
///   gaussian_blur   by a Gaussian of deviation c·min(H, W)/32 pixels, cut off at four deviations, the border repeated;
///                   c .4 .6 .7 .8 1
///   brightness      c more of HSV's value: every pixel times min(v + c, 1)/v, v = max(r, g, b); c .05 .1 .15 .2 .3
///   contrast        (x - m) c + m, m the mean of the channel; c .75 .5 .4 .3 .15
/// Throws Error for another image or severity.
Tensor corrupted(const Tensor& image, MadeCorruption kind, int severity, int64_t example);

/// All of them for the images of `base`, before their pipeline, all in the mean.
Corruptions made_corruptions(std::shared_ptr<const Dataset> base);

}  // namespace sked
