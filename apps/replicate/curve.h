#pragma once
// What a run's metrics.jsonl says of its evaluations.

#include <cstdint>
#include <string_view>
#include <vector>

#include "apps/common/run/run_folder.h"

namespace sked {

/// Of held-out images, or of the test images where none are held out. NaN where the line does not say.
struct PeriodicEvaluation {
  int64_t step;
  double epoch, nll, accuracy;
};

/// Each periodic evaluation in the text of a metrics.jsonl; other lines are passed over.
std::vector<PeriodicEvaluation> periodic_evaluations(std::string_view log);

/// Those of a run; none where somebody removed its metrics.jsonl, which a note says.
std::vector<PeriodicEvaluation> periodic_evaluations(const RunFolder& folder);

}  // namespace sked
