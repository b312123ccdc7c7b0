#include "apps/evaluate/calibrate.h"

#include <cstdio>
#include <utility>
#include <vector>

#include "apps/common/config/outputs.h"
#include "apps/common/config/progress.h"
#include "apps/common/measure/calibration.h"
#include "apps/common/run/stored_calibration.h"
#include "core/error.h"
#include "core/file.h"
#include "core/text.h"

namespace sked {
namespace {

const char* const kFittedToThese = "these measures are of the very images that the calibration was fitted to";

void say_unbounded(const char* what, const CalibrationFit& fit) {
  if (fit.unbounded)
    note(std::string("no ") + what + " is the best on these images: " +
         (fit.calibration.temperature < 1 ? "the lower the better, as where all are right"
                                          : "the higher the better, as where the predictions mislead"));
}

StoredCalibration fit_to(Asked& s, const std::shared_ptr<const Dataset>& images, const std::string& fit) {
  MetricsAccumulator as_is(images->classes(), s.config().head.link == Link::sigmoid);
  const CalibrationSet set = calibration_set(
      s, images, [&](const Prediction& p) { as_is.add(p.probabilities, p.batch.labels, p.batch.targets); });
  StoredCalibration stored{.source = prediction_source(s.config(), *s.model, s.predict.samples),
                           .split = fit,
                           .count = set.size(),
                           .nll = as_is.measures().nll,
                           .temperature = fit_calibration(set, false),
                           .shift = fit_calibration(set, true),
                           .command = {}};
  say_unbounded("temperature", stored.temperature);
  say_unbounded("temperature beside the shifts", stored.shift);
  return stored;
}

void print_line(const std::string& name, const Measures& m) {
  std::printf("  %-34s  %7.4f  %10.2f  %7.4f  %12.4f  %7.4f\n", name.c_str(), m.nll, 100 * m.accuracy, m.ece,
              m.adaptive_ece, m.brier);
}

std::string with_temperature(const Calibration& c, const char* more) {
  char text[64];
  std::snprintf(text, sizeof text, "temperature %.3f%s", c.temperature, more);
  return text;
}

}  // namespace

std::shared_ptr<const Dataset> calibration_images(const Asked& s, const std::string& fit) {
  require_usage(fit != "test" || !s.splits.without_test, "evaluate",
                "--calibrate test: there are no test images; those held out for validation are what is measured");
  const auto& images = fit == "test" ? s.splits.test : s.splits.validation;
  require_usage(images != nullptr, "evaluate", "--calibrate ", fit,
                ": data.validation is 0, so that no image was held out: train with --set data.validation=N");
  check_images(s.subject, *images, fit);
  check_results({calibration_path(s.subject)}, "head_temperature");
  return images;
}

Json report_calibration(Asked& s, const std::shared_ptr<const Dataset>& images, const std::string& fit,
                        const std::string& split, const std::string& command) {
  StoredCalibration stored = fit_to(s, images, fit);
  stored.command = command;
  Json json = calibration_json(stored);
  const std::string path = calibration_path(s.subject);
  if (s.predict.ranks->rank() == 0) write_file(path, json_text(json));

  const auto measured = choose_split(s.splits, split);
  const Calibration* const all[] = {nullptr, &stored.temperature.calibration, &stored.shift.calibration};
  std::vector<EvaluationAccumulator> sums(std::size(all), EvaluationAccumulator(*measured, s.config()));
  for_each_prediction(*s.model, measured, s.config().data.eval_pipeline, s.predict, [&](const Prediction& p) {
    for (size_t i = 0; i < sums.size(); ++i)
      sums[i].add(all[i] ? calibrated(p.probabilities, *all[i]) : p.probabilities, p.batch);
  });
  std::printf("fitted to %lld %s images (%s), measured on %lld %s images\n", static_cast<long long>(stored.count),
              fit.c_str(), printable(path).c_str(), static_cast<long long>(measured->size()), split.c_str());
  std::printf("  %-34s  %7s  %10s  %7s  %12s  %7s\n", "", "nll", "accuracy %", "ece", "adaptive ece", "brier");
  const std::string names[] = {"as trained", with_temperature(*all[1], ""),
                               with_temperature(*all[2], ", shifted classes")};
  Json& measures = json["measures"];
  for (size_t i = 0; i < sums.size(); ++i) {
    const Evaluation e = sums[i].evaluation();
    print_line(names[i], e.measures);
    measures[i == 0 ? "as_trained" : i == 1 ? "temperature" : "shift"] = evaluation_json(e, false);
  }
  if (fit == split) note(kFittedToThese);
  return json;
}

Json use_calibration(Asked& s, const std::string& name, const std::string& split) {
  const StoredCalibration stored = stored_calibration(s.subject, *s.model, s.splits.test->classes(), s.predict.samples);
  s.predict.calibration = stored.named(name);
  std::printf("calibrated: %s\n", described(stored, name).c_str());
  if (stored.split == split) note(kFittedToThese);
  Json json = calibration_json(stored);
  json["applied"] = name;
  return json;
}

}  // namespace sked
