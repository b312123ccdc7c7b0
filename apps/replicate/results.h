#pragma once
// What a plan's runs come to: means and standard errors over seeds, and paired comparisons.

#include <optional>
#include <string>
#include <vector>

#include "apps/common/measure/estimate.h"
#include "apps/common/measure/summary.h"
#include "apps/replicate/curve.h"
#include "apps/replicate/plan.h"

namespace sked {

struct FinishedRun {
  PlannedRun plan;
  Summary summary;
  std::vector<PeriodicEvaluation> evaluations = {};
};

/// A column of the table.
struct Metric {
  std::string key, title;
  int digits;
  double scale;          // 100 for percentages
  bool lower_is_better;  // meaningless unless `compared`
  bool compared;         // does it decide who wins?
  double (*get)(const Summary&);
  bool (*has)(const Summary&) = nullptr;  // where it is not of every run
  bool of_predictions = true;             // else of the run itself: an ensemble has none
  bool of_some = false;                   // has a column where only some heads have it
  bool in_tables = true;                  // else in results.json alone
};
const std::vector<Metric>& metrics();

/// What the average of the seeds' predicted probabilities comes to on the test images.
struct SeedEnsemble {
  Evaluation test;
  double disagreement = 0;  // share of them that two seeds classify differently, mean over pairs
};

/// A run's test images with the temperature fitted to its held-out images (measure/calibration.h).
struct CalibratedRun {
  uint64_t seed = 0;
  double temperature = 1;
  Evaluation test;
};

/// A point of the plan's tuning, as a cell tried it.
struct Trial {
  std::string values;                     // as its PlannedRuns have them
  std::vector<double> held_out_nll = {};  // of each seed; infinite: its numbers did not stay finite
  double train_seconds = 0;               // of all of them
  bool chosen = false;
  /// Of the seeds; infinite where one is.
  double mean_nll() const;
};

/// What else was measured of a cell's runs: a row of tables below its own.
struct FurtherRow {
  std::string what;  // `their ensemble`
  std::vector<const Evaluation*> tests;
  /// Their mean ± standard error; `-` where they have none.
  std::string text(const Metric& metric) const;
};

/// The runs of one setting and one head, by ascending seed.
struct Cell {
  size_t setting, head;
  std::vector<FinishedRun> runs;
  std::optional<SeedEnsemble> ensemble = {};
  std::vector<CalibratedRun> calibrated = {};  // none, or one for each of the runs
  std::vector<Trial> tuning = {};
  std::optional<Json> noise = {};  // of the first run, as results.json has it (cell_noise.h)
  Estimate of(const Metric& metric) const;
  bool has(const Metric& metric) const;
  /// What the tables show: `-` for what it does not have.
  std::string text(const Metric& metric) const;
  std::vector<FurtherRow> further_rows() const;
  /// The runs as results.json has them.
  Json runs_json() const;
};
/// Cells in the plan's order; those without a finished run are left out.
std::vector<Cell> cells_of(const Plan& plan, const std::vector<FinishedRun>& runs);
std::vector<const Cell*> cells_of_setting(const std::vector<Cell>& cells, size_t setting);
/// The metrics of tables that all of these cells have, and those of some heads that any has.
std::vector<const Metric*> columns_of(const std::vector<const Cell*>& cells);

/// Per setting and compared metric: the head with the best mean, and each other head's difference to it over the same
/// seeds.
struct Comparison {
  size_t setting, best;
  const Metric* metric;
  struct Other {
    size_t head;
    Estimate difference;  // other − best, paired by seed
    /// Is the difference larger than two of its standard errors (and are there at least two seeds)?
    bool clear() const;
  };
  std::vector<Other> others;
};
std::vector<Comparison> comparisons(const Plan& plan, const std::vector<Cell>& cells);
/// `instance noise: HET-XL has the lowest NLL, 0.41; behind DET +0.02 ± 0.00 …`
std::string sentence(const Plan& plan, const std::vector<Cell>& cells, const Comparison& comparison);

/// A sentence where it was not on test images.
std::string measured_on(const std::vector<const Cell*>& rows);

/// Where runs of one setting, configured for the same data, were trained on different images: a sentence that says
/// which, since their differences are then not those of the heads or the seeds. Empty where all saw the same.
std::string data_warning(const Plan& plan, const std::vector<const Cell*>& rows);

}  // namespace sked
