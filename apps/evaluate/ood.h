#pragma once
// Telling a model's own images from those of another dataset.

#include <memory>
#include <string>

#include "apps/common/measure/evaluation.h"

namespace sked {

/// Measures how well `model` tells the images of `own` from those of `other`, printed under `name`: {dataset, auroc,
/// count}. Both are prepared by data.eval_pipeline.
Json report_ood(Classifier& model, const RunConfig& config, const PredictOptions& options,
                const std::shared_ptr<const Dataset>& own, const std::shared_ptr<const Dataset>& other,
                const std::string& name);

}  // namespace sked
