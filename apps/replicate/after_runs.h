#pragma once
// What is measured of a plan's runs when all are trained: the seeds of a setting and a head as one predictor, each run
// calibrated, and the noise of the first.

#include <filesystem>
#include <functional>
#include <vector>

#include "apps/common/config/cli.h"
#include "apps/replicate/results.h"

namespace sked {

/// The ensembles and calibrations that a plan asks for, and of a study the noise.
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
  enum class What { ensemble, calibration, noise };
  /// One of them, of one cell.
  struct Measurement {
    Cell* cell;
    What what;
    bool known() const;
    const char* name() const;
  };
  std::vector<Measurement> missing(std::vector<Cell>& cells) const;
  void measure(const Measurement& measurement, const CommonOptions& common) const;

  const Plan& plan_;
  std::filesystem::path out_;
};

}  // namespace sked
