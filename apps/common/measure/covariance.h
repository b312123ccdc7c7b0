#pragma once
// Which classes' logits a head's noise moves together, over the images of a data set.

#include <cstdint>
#include <string>
#include <vector>

#include "apps/common/measure/batch_rows.h"
#include "layers/heads/head.h"
#include "layers/heads/options.h"

namespace sked {

/// More classes than this are refused: K² numbers for every sample of every image.
constexpr int64_t kMostCovariantClasses = 1000;

/// Throws UsageError, naming the option --covariance, for a head without noise, fewer than 2 samples and too many
/// classes.
void check_covariance(const HeadConfig& head, int64_t classes, int64_t samples);

/// Of the sampled logits u/τ, mean over images; what a sample adds to all classes alike is left out (softmax link).
struct LogitCovariance {
  int64_t images = 0, samples = 0;
  Tensor covariance;   // f32 (K,K): mean over the images of each image's covariance over its samples
  Tensor correlation;  // f32 (K,K), of that covariance: 1 on the diagonal; 0 for a class whose logit does not move
  Tensor each = {};    // f32 (N,K,K): each image's covariance; undefined where they are not kept
  std::vector<std::string> ids = {};  // N names, of these images
};

/// Where a look at some images has to do: so many, chosen at random but always the same, and samples of each.
constexpr int64_t kSomeImages = 256, kSomeSamples = 64;

/// Gathers it image by image, the images in double, each rank those that it has.
class CovarianceAccumulator {
 public:
  /// Logits f32 (S,B,K) as of sampled_logits(). With the images' names each one's covariance is kept, as long as all
  /// have at most 2^25 numbers.
  void add(const Tensor& logits, const std::vector<std::string>& ids = {}) {
    add(logits, BatchRows(logits.dim(1)), ids);
  }
  /// Of this rank's rows of a batch; the names are those of the whole batch.
  void add(const Tensor& logits, const BatchRows& rows, const std::vector<std::string>& ids = {});
  /// Samples the logits of every row of phi, this rank's, a few rows at a time where there are many classes.
  void add(Head& head, const Tensor& phi, int64_t samples, bool sigmoid, const Context& context, const BatchRows& rows,
           const std::vector<std::string>& ids = {});
  /// Of this rank.
  int64_t images() const { return images_; }
  /// Expects images. A collective, with the same result on every rank.
  LogitCovariance result(Communicator& ranks = alone()) const;

 private:
  void add_at(int64_t place, const Tensor& logits);
  bool keeps() const;
  Tensor each(Communicator& ranks) const;

  std::vector<double> sums_;     // (K,K)
  std::vector<float> each_;      // (n,K,K)
  std::vector<int64_t> places_;  // of these n among all images
  std::vector<std::string> ids_;
  int64_t images_ = 0, samples_ = 0, classes_ = 0;
};

/// The two files of `prefix`; none of an empty one. Throws Error where they could not be written, or are there and not
/// results of before.
std::vector<std::string> check_covariance_files(const std::string& prefix);

/// PREFIX.safetensors: covariance, correlation, and where they are kept image_covariance (N,K,K) with ids u8 (N,L),
/// UTF-8 with zeros behind it; metadata class_names (a JSON list), images, samples, about. PREFIX.svg: the correlation
/// as a heat map (heat_map.h). Returns a line that says so.
std::string write_covariance(const std::string& prefix, const LogitCovariance& result,
                             const std::vector<std::string>& names);

}  // namespace sked
