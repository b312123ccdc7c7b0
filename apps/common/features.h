#pragma once
// What a tower that is not trained makes of a data set: computed once, kept on disk.

#include <memory>
#include <string>

#include "core/tensor.h"
#include "data/dataset.h"
#include "layers/backbone.h"

namespace sked {

/// Where features are kept and what decides them beside the tower's weights.
struct FeatureStore {
  std::string folder;
  std::string about;  // data set, split, pipeline: any text that differs when one of them does
};

/// φ f32 (N,D) of every image of `dataset`, on `device`: from <folder>/<dataset>-<fingerprint of weights and
/// about>.safetensors, or computed and written there. Throws Error naming the file where it is damaged or of another
/// size, and for an image that cannot be read; Interrupted on Ctrl-C, with nothing written.
Tensor image_features(Backbone& tower, const std::shared_ptr<const Dataset>& dataset, const std::string& pipeline,
                      int64_t batch_size, const FeatureStore& store, Device device);

}  // namespace sked
