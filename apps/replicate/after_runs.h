#pragma once
// What is measured of a plan's runs when all are trained: the seeds of a setting and a head as one predictor, each run
// calibrated, and the noise of the first.

#include <filesystem>
#include <functional>
#include <vector>

#include "apps/common/config/cli.h"
#include "apps/replicate/results.h"
#include "core/communicator.h"

namespace sked {

/// The ensembles and calibrations that a plan asks for, and of a study the noise.
class AfterRuns {
 public:
  AfterRuns(const Plan& plan, const std::filesystem::path& out) : plan_(plan), out_(out) {}

  /// Gives cells what results.json in `out` knows of the very same runs.
  void recall(std::vector<Cell>& cells) const;
  /// Measures what is not known, from the runs' folders: ensembles of two runs or more. What cannot be measured
  /// (weights removed to save space, say) is left out, and a note says why. Several processes share the cells, and
  /// ranks, which all call this with the same cells; each ends with all. `write` is called by rank 0 after each, or
  /// after one of each rank: it writes results.json. Asked to stop, all ranks leave by Interrupted.
  void measure(std::vector<Cell>& cells, const CommonOptions& options, Communicator& ranks,
               const std::function<void()>& write) const;

 private:
  enum class What { ensemble, calibration, noise };
  /// One of them, of one cell.
  struct Measurement {
    Cell* cell;
    What what;
    bool known() const;
    const char* name() const;
    bool operator==(const Measurement&) const = default;
  };
  std::vector<Measurement> missing(std::vector<Cell>& cells) const;
  std::vector<Measurement> missing(std::vector<Cell>& cells, Communicator& ranks) const;
  std::string label_of(const Cell& cell) const;
  void take_over(Cell& cell, const std::function<const Json*(const char*)>& of, const std::string& source) const;
  Json outcome(const Measurement& measurement, std::vector<Cell>& cells, const CommonOptions& common) const;
  std::string measure(const Measurement& measurement, const CommonOptions& common) const;

  const Plan& plan_;
  std::filesystem::path out_;
};

}  // namespace sked
