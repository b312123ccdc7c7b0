#include "apps/common/run/stored_calibration.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>

#include "apps/common/config/fields.h"
#include "apps/common/config/progress.h"
#include "apps/common/run/run_folder.h"
#include "core/error.h"
#include "core/file.h"
#include "core/fingerprint.h"
#include "core/text.h"
#include "core/xxh64.h"

namespace sked {
namespace {

constexpr const char* kShifts = "class_shift";

std::vector<Field> list_of(StoredCalibration& c) {
  FieldList fields;
  fields("split", c.split);
  fields("count", c.count);
  fields("samples", c.source.samples);
  fields("seed", c.source.seed);
  fields("weights", c.source.weights);
  fields("head_temperature", c.source.head_temperature);
  fields("eval_pipeline", c.source.eval_pipeline);
  fields("nll", c.nll);
  fields("temperature.temperature", c.temperature.calibration.temperature);
  fields("temperature.nll", c.temperature.nll);
  fields("shift.temperature", c.shift.calibration.temperature);
  fields("shift.nll", c.shift.nll);
  fields("command", c.command);
  return fields.take();
}

std::string fingerprint_of(Classifier& classifier) {
  Fingerprint f;
  const auto add = [&](const std::string& name, const Tensor& tensor) {
    const Tensor values = tensor.to(Device::cpu);
    f.add(name);
    f.add(values.shape().str());
    f.add(xxh64(values.raw(), values.bytes()));
  };
  for (const NamedVar& p : classifier.parameters()) add(p.name, p.var.value());
  for (const auto& [name, buffer] : classifier.buffers()) add(name, *buffer);
  return f.hex();
}

/// Takes the shifts out of `json`.
std::vector<double> take_shifts(Json& json, const std::string& path, int64_t classes) {
  const Json* shift = json.find("shift");
  const Json* list = shift ? shift->find(kShifts) : nullptr;
  const auto is_finite_number = [](const Json& b) { return b.is_number() && std::isfinite(b.number()); };
  require(list && list->is_array() && static_cast<int64_t>(list->size()) == classes &&
              std::ranges::all_of(list->elements(), is_finite_number),
          "calibration", path, ": shift.", kShifts, ": expected ", classes, " finite numbers, one for each class, got ",
          list ? excerpt(list->dump()) : "none");
  std::vector<double> shifts;
  for (const Json& b : list->elements()) shifts.push_back(b.number());
  json["shift"].erase(kShifts);
  return shifts;
}

}  // namespace

PredictionSource prediction_source(const RunConfig& config, Classifier& classifier, int64_t samples) {
  return {.weights = fingerprint_of(classifier),
          .head_temperature = classifier.head().temperature(),
          .samples = config.head.kind == HeadKind::det ? 0 : samples,
          .seed = config.seed,
          .eval_pipeline = config.data.eval_pipeline};
}

std::string calibration_path(const Subject& subject) {
  return RunFolder{std::filesystem::path(subject.path).parent_path()}.calibration();
}

Json calibration_json(const StoredCalibration& stored) {
  StoredCalibration copy = stored;  // field lists hand out addresses to write to
  Json json = write_fields(list_of(copy));
  json["shift"][kShifts] = stored.shift.calibration.shift;
  return json;
}

StoredCalibration read_calibration(const std::string& path, int64_t classes, bool sigmoid) {
  constexpr uint64_t kMostBytes = uint64_t{1} << 30;
  StoredCalibration stored;
  try {
    Json json = parse_json(read_file(path, kMostBytes), path);
    stored.shift.calibration.shift = take_shifts(json, path, classes);
    read_fields(json, list_of(stored), path);
  } catch (const UsageError& error) {  // nobody's usage is wrong: the file is
    throw Error(error.what());
  }
  for (CalibrationFit* fit : {&stored.temperature, &stored.shift}) {
    const double t = fit->calibration.temperature;
    require(t >= kLeastTemperature && t <= kMostTemperature, "calibration", path, ": expected a temperature from ",
            kLeastTemperature, " to ", kMostTemperature, ", got ", t);
    fit->calibration.sigmoid = sigmoid;
  }
  return stored;
}

StoredCalibration stored_calibration(const Subject& subject, Classifier& classifier, int64_t classes, int64_t samples) {
  const std::string path = calibration_path(subject);
  require(std::filesystem::exists(path), "calibration", path,
          " is not there: build/evaluate RUN --calibrate validation fits one");
  StoredCalibration stored = read_calibration(path, classes, subject.config.head.link == Link::sigmoid);
  const PredictionSource here = prediction_source(subject.config, classifier, samples), &there = stored.source;
  const std::string again = " (build/evaluate RUN --calibrate validation fits it again)";
  require(there.weights == here.weights, "calibration", path, " was fitted to other weights than those of ",
          subject.path, again);
  require(std::abs(there.head_temperature - here.head_temperature) <= 1e-6 * here.head_temperature, "calibration", path,
          " was fitted at head.temperature ", there.head_temperature, ", here it is ", here.head_temperature, again);
  if (there.samples != here.samples)
    note(path + " was fitted to predictions of " + std::to_string(there.samples) +
         " Monte Carlo samples, these are of " + std::to_string(here.samples));
  if (there.eval_pipeline != here.eval_pipeline)
    note(path + " was fitted to images prepared by " + excerpt(there.eval_pipeline) + ", these are by " +
         here.eval_pipeline);
  return stored;
}

std::string described(const StoredCalibration& stored, const std::string& name) {
  char number[32];
  std::snprintf(number, sizeof number, "%.3f", stored.named(name).temperature);
  return std::string("temperature ") + number + (name == "shift" ? " and a shift of each class" : "") + ", fitted to " +
         std::to_string(stored.count) + " " + printable(stored.split) + " images";
}

}  // namespace sked
