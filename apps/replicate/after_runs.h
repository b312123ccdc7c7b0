#pragma once
// What is measured of a plan's runs when all are trained: the seeds of a setting and a head as one predictor, and each
// run calibrated.

#include <filesystem>
#include <functional>
#include <vector>

#include "apps/common/config/cli.h"
#include "apps/replicate/results.h"

namespace sked {

/// The ensembles and calibrations that a plan asks for.
class AfterRuns {
 public:
  AfterRuns(const Plan& plan, const std::filesystem::path& out) : plan_(plan), out_(out) {}

  /// Gives cells what results.json in `out` knows of the very same runs.
  void recall(std::vector<Cell>& cells) const;
  /// Measures what is not known, from the runs' folders: ensembles of two runs or more. What cannot be measured
  /// (weights removed to save space, say) is left out, and a note says why. Several processes share the cells, each of
  /// which ends with all. `write` is called after each, and in the end: it writes results.json.
  void measure(std::vector<Cell>& cells, const CommonOptions& options, const std::function<void()>& write) const;

 private:
  /// One of the two, of one cell.
  struct Measurement {
    Cell* cell;
    bool of_ensemble;
    bool known() const { return of_ensemble ? cell->ensemble.has_value() : !cell->calibrated.empty(); }
  };
  std::vector<Measurement> missing(std::vector<Cell>& cells) const;
  void measure(const Measurement& measurement, const CommonOptions& common) const;

  const Plan& plan_;
  std::filesystem::path out_;
};

}  // namespace sked
