#pragma once
// What a tower makes of a data set: the representations that are measured, or trained on.

#include <memory>
#include <string>

#include "apps/common/config/config.h"
#include "apps/common/config/progress.h"
#include "core/tensor.h"
#include "data/dataset.h"
#include "layers/backbone.h"

namespace sked {

/// φ f32 (N,D) and labels i64 (N) of images, on the CPU.
struct LabeledFeatures {
  Tensor phi, labels;
};

/// Those of the images of `dataset` that can be read, in order, prepared by data.eval_pipeline, batch by batch on
/// `device`. `say`, else stderr, is told of those that cannot, and every ten seconds how far it is, under the name
/// `what`. Throws Error for φ that is not finite, naming the image, and for more images that cannot be read than
/// data.skip_limit says; Interrupted on Ctrl-C.
LabeledFeatures labeled_features(Backbone& tower, const std::shared_ptr<const Dataset>& dataset,
                                 const RunConfig& config, Device device, const Say& say, const std::string& what);

/// φ f32 (N,D) of every image of `dataset`, prepared by data.eval_pipeline, on `device`: kept in the folder
/// contrast.features as <dataset>-<fingerprint>.safetensors, or computed and written there. The fingerprint is of all
/// that decides φ: the very images in their order (image_fingerprint), the pipeline, the tower with its weights, and
/// what products are computed in. Throws Error naming the file where it is damaged or of another size, and for an image
/// that cannot be read; Interrupted on Ctrl-C, with nothing written. Computing takes long: `say`, or else stderr, is
/// told so. It is done once, and kept on disk.
Tensor image_features(Backbone& tower, const std::shared_ptr<const Dataset>& dataset, const RunConfig& config,
                      Device device, const Say& say = {});

}  // namespace sked
