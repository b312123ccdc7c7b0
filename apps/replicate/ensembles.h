#pragma once
// The seeds of a setting and a head as one predictor.

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "apps/common/config/cli.h"
#include "apps/replicate/results.h"

namespace sked {

/// The ensembles of a plan: those that results.json of before has, and those that are evaluated.
class SeedEnsembles {
 public:
  /// Looks at results.json in `out`. One that is not there, of an earlier version, or not to be read knows none.
  SeedEnsembles(const Plan& plan, const std::filesystem::path& out);

  /// Gives cells the ensembles known of the very same runs.
  void recall(std::vector<Cell>& cells) const;
  /// Evaluates those of two runs or more that are not known, from the runs' folders. What cannot be (weights removed to
  /// save space, say) is left out, and a note says why. `after_each` is called with
  /// each that is added.
  void evaluate(std::vector<Cell>& cells, const CommonOptions& options, const std::function<void()>& after_each);

 private:
  struct Known {
    std::string setting, head;
    Json runs;
    SeedEnsemble ensemble;
  };

  const Plan& plan_;
  std::filesystem::path out_;
  std::vector<Known> known_;
};

}  // namespace sked
