#include "apps/replicate/after_runs.h"

#include <algorithm>
#include <cstdio>
#include <memory>

#include "apps/common/config/interrupt.h"
#include "apps/common/config/progress.h"
#include "apps/common/run/ensemble.h"
#include "apps/common/run/run_folder.h"
#include "apps/replicate/cell_noise.h"
#include "apps/replicate/earlier.h"
#include "apps/replicate/study_results.h"
#include "apps/replicate/tables.h"
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
    const auto find = [&](const char* key) { return earlier.find(plan_, cell, key); };
    take_over(cell, find, path);
  }
}

void AfterRuns::take_over(Cell& cell, const std::function<const Json*(const char*)>& of,
                          const std::string& source) const {
  const auto find = [&](bool asked, const char* key) { return asked ? of(key) : nullptr; };
  try {
    if (const Json* known = find(plan_.ensembles, "ensemble")) cell.ensemble = read_ensemble(*known, source);
    if (const Json* known = find(plan_.calibrated, "calibrated")) cell.calibrated = read_calibrated(*known, source);
  } catch (const Error&) {  // of an earlier version: it is measured again
  }
  if (cell.calibrated.size() != cell.runs.size()) cell.calibrated.clear();
  const Json* noise = find(!plan_.study.empty(), "noise");
  if (noise != nullptr && is_noise(*noise)) cell.noise = *noise;
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

std::string AfterRuns::label_of(const Cell& cell) const {
  return plan_.settings[cell.setting].name + " · " + plan_.heads[cell.head].name;
}

/// The list of rank 0, which may have seen other results.json than this rank.
std::vector<AfterRuns::Measurement> AfterRuns::missing(std::vector<Cell>& cells, Communicator& ranks) const {
  Json list = Json::array();
  for (const Measurement& m : missing(cells))
    list.push_back({{"cell", m.cell - cells.data()}, {"what", static_cast<int64_t>(m.what)}});
  const Json first = parse_json(all_gather_text(ranks, list.dump()).front(), "ranks");
  std::vector<Measurement> all;
  for (const Json& m : first.elements())
    all.push_back({&cells.at(m.at("cell").unsigned_integer()), static_cast<What>(m.at("what").integer())});
  return all;
}

/// What a rank tells of one measurement: {"further": further_json(), "line": what it came to}; {"note": why there is
/// nothing}; {"busy": true}: another process has the cell; {"stopped": true}: it was asked to stop.
Json AfterRuns::outcome(const Measurement& measurement, std::vector<Cell>& cells, const CommonOptions& common) const {
  const Cell& cell = *measurement.cell;
  try {
    const auto held = hold({out_ / cell.runs.front().plan.folder});
    recall(cells);  // what other processes have measured
    const std::string line = measurement.known() ? "" : measure(measurement, common);
    return {{"further", further_json(cell)}, {"line", line}};
  } catch (const BusyError&) {
    return {{"busy", true}};
  } catch (const Interrupted&) {
    return {{"stopped", true}};
  } catch (const Error& error) {
    return {{"note", "the " + std::string(measurement.name()) + " of " + printable(label_of(cell)) +
                         " is left out: " + error.what()}};
  }
}

void AfterRuns::measure(std::vector<Cell>& cells, const CommonOptions& options, Communicator& ranks,
                        const std::function<void()>& write) const {
  CommonOptions common;  // without --config, which is the plan, and --set, which is in the runs' configurations
  common.device = options.device;
  common.data_root = options.data_root;
  std::vector<Measurement> open = missing(cells, ranks);
  for (size_t busy = 0; !open.empty();) {
    // One of each rank, each of another cell: who measures a cell keeps all others off it.
    std::vector<Measurement> now;
    for (const Measurement& m : open)
      if (std::ssize(now) < ranks.size() && std::ranges::find(now, m.cell, &Measurement::cell) == now.end())
        now.push_back(m);
    const auto rank = static_cast<size_t>(ranks.rank());
    if (interrupted(ranks)) throw Interrupted();
    const Json mine = rank < now.size() ? outcome(now[rank], cells, common) : Json::object();
    const std::vector<std::string> told = all_gather_text(ranks, mine.dump());
    const size_t before = open.size();
    bool stopped = false;
    for (size_t r = 0; r < told.size(); ++r) {
      const Json of_rank = parse_json(told[r], "ranks");
      stopped = stopped || of_rank.contains("stopped");
      if (r >= now.size() || of_rank.contains("stopped")) continue;
      std::erase(open, now[r]);
      if (of_rank.contains("busy")) open.push_back(now[r]);
      if (const Json* why = of_rank.find("note"); why != nullptr && rank == 0) note(why->string());
      if (const Json* further = of_rank.find("further")) {
        const auto find = [&](const char* key) { return further->find(key); };
        if (r != rank) take_over(*now[r].cell, find, "ranks");
        if (const std::string& line = of_rank.at("line").string(); !line.empty()) inform(line);
      }
    }
    busy = open.size() < before ? 0 : busy + now.size();
    if (open.size() < before && ranks.rank() == 0) {
      recall(cells);  // what other processes have written since stays in the file
      write();
    }
    if (stopped) {
      interrupted(ranks);  // all know the signal
      throw Interrupted();
    }
    if (busy >= open.size() && !open.empty()) wait_a_moment(ranks);  // other processes have all
  }
}

/// Returns what it came to, as a line.
std::string AfterRuns::measure(const Measurement& measurement, const CommonOptions& common) const {
  Cell& cell = *measurement.cell;
  std::vector<std::string> folders;
  for (const FinishedRun& run : cell.runs) folders.push_back((out_ / run.plan.folder).string());
  if (measurement.what == What::noise) {
    cell.noise = cell_noise(cell, out_);
    return "";
  }
  if (measurement.what == What::ensemble) {
    cell.ensemble = ensemble_of(folders, common);
    return label_of(cell) + ", ensemble of " + std::to_string(folders.size()) +
           result_line(cell.ensemble->test.measures);
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
  return label_of(cell) + ", " + cell.further_rows().back().what;
}

}  // namespace sked
