#pragma once
// Two towers, captions, zero-shot classification: layers/heads/METHOD.md, "Contrastive image–text training".

#include <memory>
#include <string>
#include <vector>

#include "apps/common/run/checkpoint.h"
#include "apps/common/run/task.h"
#include "apps/common/run/towers.h"
#include "data/captions.h"

namespace sked {

/// How images of a labeled data set are named by texts: the classes and what is said of each.
struct ZeroShotClasses {
  std::vector<std::vector<std::string>> prompts;  // of each class: every template with every one of its names
  std::vector<int64_t> unseen;                    // classes that no training caption spoke of
};

/// Of a data set with the names and templates that `spec` says; empty where it has no classes.
ZeroShotClasses zero_shot_classes(const Dataset& data, const CaptionSpec& spec);

/// Zero-shot classification of `dataset`, which has captions, and retrieval among config.contrast.retrieval of its
/// images, drawn at random but the same for every run, each with all its captions. Examples of one source are one image
/// (data/dataset.h). Images without classes are classified among those searched, by their captions
/// (measure_by_captions()). Vectors in their place are φ, by a locked tower. Throws
/// Error for a data set without images, and naming the image or caption for an embedding that is not finite;
/// Interrupted on Ctrl-C. `on_skip` is told of images that cannot be read; where there is none, stderr. Each rank
/// embeds some of the images and texts, and gets the measures.
Evaluation evaluate_zero_shot(Towers& towers, const std::shared_ptr<const Dataset>& dataset,
                              const ZeroShotClasses& classes, const RunConfig& config, Device device,
                              const std::function<void(const Skipped&)>& on_skip = {}, Communicator& ranks = alone());

/// With contrast.lock_image the image tower stays as train.init made it (LiT, arXiv 2111.07991): φ of every image is
/// computed once, without augmentation, and kept in the folder contrast.features.
class ContrastiveTask final : public Task {
 public:
  /// The vocabulary comes from the checkpoint or the run that training begins with where there is one, else from the
  /// file text.vocabulary, else it is learned from the captions.
  ContrastiveTask(const RunConfig& config, Splits splits, Device device, const Beginning& from, Communicator& ranks);

  Module& model() override { return *towers_.model; }
  /// Of a run of two towers both and the head (load_towers), of a classifier the image tower's.
  InitialReport begin_with(const TensorFile& file) override;
  /// Images, or φ where that is kept; tokens and their ends.
  TensorList inputs(const Batch& batch) const override;
  Var loss(const TensorList& inputs, const Context& context) override;
  double temperature() const override { return towers_.model->head().temperature(); }
  bool learns_temperature() const override { return config_.contrast.temperature.learn; }
  Evaluation evaluate(EvaluationPoint point) override;
  Backbone& tower() override { return towers_.model->image(); }
  void describe(Summary& summary) const override;

 private:
  ZeroShotClasses classes_;
  Towers towers_;
};

}  // namespace sked
