#pragma once
// calibration.json: what was fitted to a run's held-out images, beside its checkpoints. Nothing applies it unasked.

#include <cstdint>
#include <string>

#include "apps/common/measure/calibration.h"
#include "apps/common/run/subject.h"
#include "core/json.h"

namespace sked {

/// How predictions are made, which a calibration is for.
struct PredictionSource {
  std::string weights;          // fingerprint of parameters and buffers, with their names and shapes
  double head_temperature = 1;  // τ
  int64_t samples = 0;          // Monte Carlo
  uint64_t seed = 0;
  std::string eval_pipeline;
};
PredictionSource prediction_source(const RunConfig& config, Classifier& classifier, int64_t samples);

struct StoredCalibration {
  PredictionSource source;
  std::string split;  // whose images it was fitted to
  int64_t count = 0;  // of them
  double nll = 0;     // of the predictions as they are on them
  CalibrationFit temperature, shift;
  std::string command;  // that fitted it

  /// `temperature` or `shift`.
  const Calibration& named(const std::string& name) const {
    return name == "shift" ? shift.calibration : temperature.calibration;
  }
};

/// calibration.json in the folder of the subject's file.
std::string calibration_path(const Subject& subject);

/// {split, count, samples, seed, weights, head_temperature, eval_pipeline, nll, temperature {temperature, nll}, shift
/// {temperature, nll, class_shift [K]}, command}.
Json calibration_json(const StoredCalibration& stored);
/// Throws Error naming the file, what is wrong and what was expected where it is not one of K = `classes`.
StoredCalibration read_calibration(const std::string& path, int64_t classes, bool sigmoid);

/// What was fitted to the predictions of `classifier`, the subject's. Says on stderr where it was to those of other
/// samples, another seed or another pipeline. Throws Error where there is none, or it is of other weights or another τ.
StoredCalibration stored_calibration(const Subject& subject, Classifier& classifier, int64_t classes, int64_t samples);

/// `temperature 1.523 and a shift of each class, fitted to 5000 validation images`.
std::string described(const StoredCalibration& stored, const std::string& name);

}  // namespace sked
