#pragma once
// The checkpoint that is asked, and what its images and classes are.

#include <memory>
#include <string>
#include <vector>

#include "apps/common/run/subject.h"
#include "apps/predict/arguments.h"
#include "core/communicator.h"
#include "data/dataset.h"

namespace sked {

/// Samples of an image's logits, for their deviations and what moves together.
constexpr int64_t kCovarianceSamples = 256;

struct AskedModel {
  Subject subject;
  const RunConfig& config() const { return subject.config; }
  Shape image_shape;  // of its data set; H = W = 0: the pipeline takes any; (D): vectors
  Shape shape;        // of the pipeline's images
  Device device;
  Communicator& ranks;                     // each predicts some of what is asked about
  std::shared_ptr<const Dataset> vectors;  // to predict from; null where they are images
  std::vector<std::string> names;          // of the classes, or the phrases of --zero-shot

  /// Does it compare images with texts?
  bool contrastive() const { return config().task == TaskKind::contrastive; }
};

/// Throws UsageError where the options do not fit the checkpoint, Error for a checkpoint that is no classifier and for
/// vectors that are not the model's.
AskedModel load_asked_model(const PredictArguments& wanted, const CommonOptions& common, Communicator& ranks);

}  // namespace sked
