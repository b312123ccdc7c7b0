#pragma once
// What a trained head's noise says of the test images: the noisiest ones, which classes move together, and how it
// compares with the noise that is known.

#include <string>
#include <vector>

#include "apps/common/measure/covariance.h"
#include "apps/replicate/results.h"

namespace sked {

struct NoisyImage {
  std::string picture;     // data URI
  std::string path;        // of its file; empty where images are no files
  std::string label;       // the test set's
  std::string prediction;  // most probable class
  double probability;      // of that class
  double noise;            // mean standard deviation of the head's noise over its coordinates
};

/// What the report shows of one run.
struct NoiseStudy {
  std::vector<NoisyImage> noisiest;  // of all test images
  std::vector<NoisyImage> by_class;  // the noisiest few of each class, class by class; none of many classes
  std::vector<std::string> classes;  // K
  LogitCovariance logits = {};       // sampled, over some test images; of none for large K
  Tensor learned = {};           // f32 (K,K): of these images the mean covariance of u/τ in closed form, centered over
  Tensor known_covariance = {};  // the classes, and the true one where it is known
  Tensor confusion = {};         // f32 (K,K): mean p(y|x) of the images of each class, where it is known or voted
  std::vector<double> known = {};      // entropy of p(y|x) of each image, in nats, where there is one
  std::vector<double> predicted = {};  // the noise of each image, in the same order
};

/// The file of the weights that the run's summary tests.
std::string weights_of(const FinishedRun& run, const std::string& folder);

/// Loads the run's weights and looks at all test images; `count` of them are the noisiest, noisiest first; of equally
/// noisy ones some drawn at random, the same for every run; no images where examples are vectors. For heads that
/// predict noise (not DET).
NoiseStudy study_noise(const FinishedRun& run, const std::string& folder, int count);

}  // namespace sked
