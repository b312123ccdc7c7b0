#pragma once
// What a tower that is not trained makes of a data set: computed once, kept on disk.

#include <functional>
#include <memory>
#include <string>

#include "apps/common/config/config.h"
#include "core/tensor.h"
#include "data/dataset.h"
#include "layers/backbone.h"

namespace sked {

/// φ f32 (N,D) of every image of `dataset`, prepared by data.eval_pipeline, on `device`: kept in the folder
/// contrast.features as <dataset>-<fingerprint>.safetensors, or computed and written there. The fingerprint is of all
/// that decides φ: the very images in their order (image_fingerprint), the pipeline, the tower with its weights, and
/// what products are computed in. Throws Error naming the file where it is damaged or of another size, and for an image
/// that cannot be read; Interrupted on Ctrl-C, with nothing written. Computing takes long: `say`, or else
/// stderr, is told so.
Tensor image_features(Backbone& tower, const std::shared_ptr<const Dataset>& dataset, const RunConfig& config,
                      Device device, const std::function<void(const std::string&)>& say = {});

}  // namespace sked
