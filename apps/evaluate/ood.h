#pragma once
// Telling a model's own images from those of another dataset (layers/heads/METHOD.md, "Measures").

#include <functional>
#include <memory>
#include <string>

#include "apps/common/measure/evaluation.h"
#include "apps/evaluate/mahalanobis.h"

namespace sked {

/// Calls a visitor for every batch of a dataset, in order, with what was predicted: by a model, or by several together,
/// whose `phi` is then undefined.
using PredictAll =
    std::function<void(const std::shared_ptr<const Dataset>&, const std::function<void(const Prediction&)>&)>;

/// What is asked to tell images apart.
struct Detector {
  PredictAll predict;
  bool sigmoid = false;  // link of the probabilities
  // Of one model: what it makes of φ.
  Head* head = nullptr;
  bool noisy = false;                     // does its head predict noise?
  const Mahalanobis* training = nullptr;  // representations of its training images, where they are asked about
};

/// Representations of a model's training images, of one class each, gathered with progress and fitted.
Mahalanobis training_representations(const PredictAll& predict, const std::shared_ptr<const Dataset>& train,
                                     int64_t width, int64_t batch_size);

/// Measures how well scores tell the images of `own` from those of `other`, prints a table under `name` and returns
/// {dataset, count, auroc, scores {max_probability {auroc, auprc, auprc_in, fpr95}, entropy, and of one model
/// max_logit, noise, mahalanobis, relative_mahalanobis}}; `auroc` is that of max_probability.
Json report_ood(const Detector& detector, const std::shared_ptr<const Dataset>& own,
                const std::shared_ptr<const Dataset>& other, const std::string& name);

}  // namespace sked
