#pragma once
// A trained classifier that is asked for predictions, with the data it is asked about.

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "apps/common/measure/evaluation.h"
#include "apps/common/run/subject.h"

namespace sked {

struct Asked {
  Subject subject;
  Splits splits;
  std::unique_ptr<Classifier> model;
  PredictOptions predict;

  const RunConfig& config() const { return subject.config; }
};

/// The classifier of `given`, a run folder or a file, and its data: those of `like` where its configuration asks for
/// the same, which are then not read again. `samples`: instead of head.test_samples. The ranks are those that will make
/// its predictions together. Throws UsageError for another task than classification, and what load_subject(),
/// load_data() and classifier_of() throw.
Asked load_asked(const std::string& given, std::optional<int64_t> samples, const CommonOptions& common,
                 const Asked* like = nullptr, Communicator& ranks = alone());

/// Its predictions on `images`, to fit a calibration to; `also` is called with each. Throws what for_each_prediction()
/// throws.
CalibrationSet calibration_set(const Asked& s, const std::shared_ptr<const Dataset>& images,
                               const std::function<void(const Prediction&)>& also = {});

/// The name of the split that `asked` is: without test images, those held out are measured in their place.
std::string measured_split(const Splits& splits, const std::string& asked);

/// `train`, `validation` or `test` of them. Throws UsageError where no image is held out for validation.
std::shared_ptr<const Dataset> choose_split(const Splits& splits, const std::string& name);

}  // namespace sked
