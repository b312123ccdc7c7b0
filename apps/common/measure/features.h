#pragma once
// What a tower makes of a data set: the representations that are measured, or trained on.

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "apps/common/config/config.h"
#include "apps/common/config/progress.h"
#include "apps/common/measure/feature_file.h"
#include "core/tensor.h"
#include "data/dataset.h"
#include "data/loader.h"
#include "layers/backbone.h"

namespace sked {

/// φ f32 (N,D) and labels i64 (N) of images, on the CPU.
struct LabeledFeatures {
  Tensor phi, labels;
};

/// Those of the images of `dataset` that can be read, in order, prepared by data.eval_pipeline, batch by batch on
/// `device`, of every batch by each rank its rows: every rank gets all. `say`, else stderr, is told of those that
/// cannot, and every ten seconds how far it is, under the name `what`. Throws Error for φ that is not finite, naming
/// the image, and for more images that cannot be read than data.skip_limit says; Interrupted on Ctrl-C.
LabeledFeatures labeled_features(Backbone& tower, const std::shared_ptr<const Dataset>& dataset,
                                 const RunConfig& config, Device device, const Say& say, const std::string& what,
                                 Communicator& ranks = alone());

/// All that decides what `tower` makes of the images of `dataset`, for people (its weights are not): the images in
/// their order, the pipeline, the network, what products are computed in.
std::string about_features(const Dataset& dataset, const RunConfig& config);
/// A short name for that and the weights.
std::string feature_fingerprint(const Module& tower, const std::string& about);

/// How write_features() tells what it does.
struct FeatureReport {
  std::function<void(int64_t done)> progress;   // images behind it
  std::function<void(const Skipped&)> on_skip;  // left out
};

/// Computes the rows that `file` does not have yet, of the images of `dataset` in batches of train.batch_size: the
/// tower's representation, or its layers()[*layer]. As many images that cannot be read as data.skip_limit says are left
/// out. A collective of the ranks of `file`. Throws as labeled_features(); what was computed until then is saved.
void write_features(FeatureFile& file, Backbone& tower, const std::shared_ptr<const Dataset>& dataset,
                    const RunConfig& config, Device device, std::optional<size_t> layer, const FeatureReport& report);

/// φ f32 (N,D) of every image of `dataset`, prepared by data.eval_pipeline on `device`, on the CPU: kept in `folder` as
/// <dataset>-<fingerprint>.safetensors, or computed and written there. The fingerprint is feature_fingerprint(): the
/// very images in their order, the pipeline, the tower with its weights, and what products are computed in. Throws
/// Error naming the file where it is damaged or of another size, and for an image that cannot be read; Interrupted on
/// Ctrl-C, with what was computed saved: the next call goes on from there. Computing takes long: `say`, or else stderr,
/// is told so. It is done once, and kept on disk: where another process does it, this waits. Of several ranks each
/// computes some rows, the first reads and writes the file, and every one gets all of φ.
Tensor image_features(Backbone& tower, const std::shared_ptr<const Dataset>& dataset, const RunConfig& config,
                      const std::string& folder, Device device, const Say& say = {}, Communicator& ranks = alone());

/// A data set with φ in the place of its images: vectors (D), once keep() has them. What else it says of an example
/// stays.
class KeptFeatures final : public DatasetView {
 public:
  KeptFeatures(std::shared_ptr<const Dataset> images, int64_t width)
      : DatasetView(images), images_(std::move(images)), width_(width) {}

  /// f32 (N,D) on the CPU.
  void keep(Tensor phi);
  const std::shared_ptr<const Dataset>& images() const { return images_; }

  Shape image_shape() const override { return {width_}; }
  bool encoded() const override { return false; }
  Tensor image(int64_t i) const override;
  /// Throws Error before keep().
  void read_features(int64_t i, float* out) const override;

 private:
  std::shared_ptr<const Dataset> images_;
  int64_t width_;
  Tensor phi_;
};

}  // namespace sked
