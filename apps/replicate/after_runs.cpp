#include "apps/replicate/after_runs.h"

#include <cstdio>
#include <memory>

#include "apps/common/config/interrupt.h"
#include "apps/common/config/progress.h"
#include "apps/common/run/ensemble.h"
#include "apps/common/run/run_folder.h"
#include "apps/replicate/cell_noise.h"
#include "apps/replicate/earlier.h"
#include "apps/replicate/study_results.h"
#include "core/error.h"
#include "core/text.h"

namespace sked {
namespace {

/// `: nll 0.4512  accuracy 84.10 %`
std::string result_line(const Measures& measures) {
  char text[64];
  std::snprintf(text, sizeof text, ": nll %.4f  accuracy %.2f %%", measures.nll, 100 * measures.accuracy);
  return text;
}

SeedEnsemble read_ensemble(const Json& ensemble, const std::string& source) {
  return {read_evaluation(ensemble.at("test"), source), ensemble.at("disagreement").number()};
}

bool is_noise(const Json& json) {
  try {
    read_noise(json);
    return true;
  } catch (const Error&) {  // damaged: it is measured again
    return false;
  }
}

SeedEnsemble ensemble_of(const std::vector<std::string>& folders, const CommonOptions& common) {
  const Ensemble ensemble = Ensemble::load(folders, "test", {}, common);
  const EnsembleEvaluation e = ensemble.evaluate(ensemble.images());
  return {e.ensemble, e.disagreement};
}

/// Fitted to the held-out images of a run. Throws Error where there are none beside those that are measured.
Calibration fitted_temperature(const Asked& run) {
  require(run.splits.validation != nullptr && !run.splits.without_test, "calibrated", run.subject.path,
          ": no images are held out beside test images");
  check_images(run.subject, *run.splits.validation, "validation");
  return fit_calibration(calibration_set(run, run.splits.validation), false).calibration;
}

/// Holds a cell against other processes while one lives; none where its folder takes no lock. Throws BusyError.
std::unique_ptr<MetricsLog> hold(const RunFolder& folder) {
  try {
    return std::make_unique<MetricsLog>(folder);
  } catch (const BusyError&) {
    throw;
  } catch (const Error&) {
    return nullptr;
  }
}

}  // namespace

void AfterRuns::recall(std::vector<Cell>& cells) const {
  if (!plan_.ensembles && !plan_.calibrated && plan_.study.empty()) return;
  const std::string path = (out_ / kResults).string();
  const EarlierResults earlier(out_);
  for (Cell& cell : cells) {
    const auto find = [&](bool asked, const char* key) { return asked ? earlier.find(plan_, cell, key) : nullptr; };
    try {
      if (const Json* known = find(plan_.ensembles, "ensemble")) cell.ensemble = read_ensemble(*known, path);
      if (const Json* known = find(plan_.calibrated, "calibrated")) cell.calibrated = read_calibrated(*known, path);
    } catch (const Error&) {  // of an earlier version: it is measured again
    }
    if (cell.calibrated.size() != cell.runs.size()) cell.calibrated.clear();
    const Json* noise = find(!plan_.study.empty(), "noise");
    if (noise != nullptr && is_noise(*noise)) cell.noise = *noise;
  }
}

bool AfterRuns::Measurement::known() const {
  if (what == What::noise) return cell->noise.has_value();
  return what == What::ensemble ? cell->ensemble.has_value() : !cell->calibrated.empty();
}

const char* AfterRuns::Measurement::name() const {
  return what == What::noise ? "noise" : what == What::ensemble ? "ensemble" : "calibration";
}

std::vector<AfterRuns::Measurement> AfterRuns::missing(std::vector<Cell>& cells) const {
  std::vector<Measurement> all;
  for (Cell& cell : cells) {
    if (plan_.ensembles && cell.runs.size() > 1) all.push_back({&cell, What::ensemble});
    if (plan_.calibrated) all.push_back({&cell, What::calibration});
    if (!plan_.study.empty() && has_noise(cell)) all.push_back({&cell, What::noise});
  }
  std::erase_if(all, &Measurement::known);
  return all;
}

void AfterRuns::measure(std::vector<Cell>& cells, const CommonOptions& options,
                        const std::function<void()>& write) const {
  CommonOptions common;  // without --config, which is the plan, and --set, which is in the runs' configurations
  common.device = options.device;
  common.data_root = options.data_root;
  std::vector<Measurement> open = missing(cells);
  while (!open.empty()) {
    bool measured = false;
    for (auto next = open.begin(); next != open.end(); ++next) {
      const Cell& cell = *next->cell;
      const std::string label = plan_.settings[cell.setting].name + " · " + plan_.heads[cell.head].name;
      try {
        const auto held = hold({out_ / cell.runs.front().plan.folder});
        recall(cells);  // what other processes have measured
        if (!next->known()) measure(*next, common);
      } catch (const BusyError&) {
        continue;
      } catch (const Error& error) {
        note("the " + std::string(next->name()) + " of " + printable(label) + " is left out: " + error.what());
      }
      measured = true;
      open.erase(next);
      recall(cells);  // what they have written since stays in the file
      write();
      break;
    }
    if (!measured) wait_a_moment();
  }
}

void AfterRuns::measure(const Measurement& measurement, const CommonOptions& common) const {
  Cell& cell = *measurement.cell;
  const std::string label = plan_.settings[cell.setting].name + " · " + plan_.heads[cell.head].name;
  std::vector<std::string> folders;
  for (const FinishedRun& run : cell.runs) folders.push_back((out_ / run.plan.folder).string());
  if (measurement.what == What::noise) {
    cell.noise = cell_noise(cell, out_);
    return;
  }
  if (measurement.what == What::ensemble) {
    cell.ensemble = ensemble_of(folders, common);
    inform(label + ", ensemble of " + std::to_string(folders.size()) + result_line(cell.ensemble->test.measures));
    return;
  }
  std::vector<CalibratedRun> calibrated;
  std::unique_ptr<Asked> first;
  for (size_t i = 0; i < folders.size(); ++i) {
    Asked run = load_asked(folders[i], {}, common, first.get());
    CalibratedRun result{.seed = cell.runs[i].plan.seed, .temperature = 1, .test = {}};
    run.predict.calibration = fitted_temperature(run);
    result.temperature = run.predict.calibration->temperature;
    result.test = evaluate(*run.model, run.splits.test, run.config(), run.predict);
    calibrated.push_back(std::move(result));
    if (!first) first = std::make_unique<Asked>(std::move(run));
  }
  cell.calibrated = std::move(calibrated);
  inform(label + ", " + cell.further_rows().back().what);
}

}  // namespace sked
