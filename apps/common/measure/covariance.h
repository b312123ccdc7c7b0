#pragma once
// Which classes' logits a head's noise moves together, over the images of a data set.

#include <cstdint>
#include <string>
#include <vector>

#include "layers/heads/head.h"

namespace sked {

/// More classes than this are refused: K² numbers for every sample of every image.
constexpr int64_t kMostCovariantClasses = 1000;

/// Of the sampled logits u/τ, mean over images; what a sample adds to all classes alike is left out (softmax link).
struct LogitCovariance {
  int64_t images = 0, samples = 0;
  Tensor covariance;   // f32 (K,K): mean over the images of each image's covariance over its samples
  Tensor correlation;  // f32 (K,K), of that covariance: 1 on the diagonal; 0 for a class whose logit does not move
};

/// Gathers it batch by batch, the batches in double.
class CovarianceAccumulator {
 public:
  /// Logits f32 (S,B,K) as of sampled_logits().
  void add(const Tensor& logits);
  /// Samples the logits of every row of phi (B,D), a few rows at a time where there are many classes.
  void add(Head& head, const Tensor& phi, int64_t samples, bool sigmoid, const Context& context);
  int64_t images() const { return images_; }
  /// Expects images.
  LogitCovariance result() const;

 private:
  std::vector<double> sums_;  // (K,K)
  int64_t images_ = 0, samples_ = 0, classes_ = 0;
};

/// Throws Error where the two files of `prefix` could not be written, or are there and not results of before.
void check_covariance_files(const std::string& prefix);

/// PREFIX.safetensors: covariance, correlation; metadata class_names (a JSON list), images, samples, about.
/// PREFIX.svg: the correlation as a heat map (heat_map.h).
void write_covariance(const std::string& prefix, const LogitCovariance& result, const std::vector<std::string>& names);

}  // namespace sked
