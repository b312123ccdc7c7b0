#pragma once
// Image files, or vectors, to answers: by a classifier, or by two towers and phrases.

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "apps/common/config/progress.h"
#include "apps/common/measure/covariance.h"
#include "apps/predict/answer.h"
#include "apps/predict/asked_model.h"
#include "apps/predict/files.h"

namespace sked {

/// Arrays of all answers for other programs, where they are asked for.
struct Exports {
  std::optional<Predictions> predictions;
  std::optional<CovarianceAccumulator> covariance;  // of a classifier
};

/// Takes the answers of some files, in their order.
using Give = std::function<void(const std::vector<Answer>& answers)>;

/// Answers files, some at a time, in their order. The exports get a row for each answer.
class Predictor {
 public:
  explicit Predictor(Exports& exports) : exports_(exports) {}
  virtual ~Predictor() = default;
  Predictor(const Predictor&) = delete;
  Predictor& operator=(const Predictor&) = delete;

  /// Gives the answers of those of the files that are images; the others are refused, each by itself.
  void answer(const std::vector<ImageFile>& files, const Refuse& refuse, const Give& give);
  /// What the file of predictions says of them.
  virtual Json about() const = 0;

 protected:
  using OnSkip = std::function<void(const Skipped&)>;
  virtual void predict(const std::vector<ImageFile>& files, const OnSkip& on_skip, const Give& give) = 0;
  Exports& exports_;
};

/// The predictor of `s`, which has to outlive it; `say` is told what probabilities are calibrated by.
std::unique_ptr<Predictor> make_predictor(const AskedModel& s, const PredictArguments& wanted, Exports& exports,
                                          const Say& say);

}  // namespace sked
