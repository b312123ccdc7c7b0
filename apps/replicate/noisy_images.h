#pragma once
// The test images a trained head finds noisiest, as pictures for the report.

#include <string>
#include <vector>

#include "apps/replicate/results.h"

namespace sked {

struct NoisyImage {
  std::string picture;     // data URI
  std::string label;       // the test set's
  std::string prediction;  // most probable class
  double probability;      // of that class
  double noise;            // mean standard deviation of the head's noise over its coordinates
};

/// The file of the weights that the run's summary tests.
std::string weights_of(const FinishedRun& run, const std::string& folder);

/// Loads the run's weights and returns the `count` test images with the largest predicted noise, noisiest first; of
/// equally noisy ones some drawn at random, the same for every run; none where examples are vectors. For heads that
/// predict noise (not DET).
std::vector<NoisyImage> noisiest_images(const FinishedRun& run, const std::string& folder, int count);

/// An image u8 (H,W,C), C = 1 or 3, as a `data:image/bmp` URI: uncompressed, so nothing is needed to write it.
std::string bitmap_uri(const Tensor& image);

}  // namespace sked
