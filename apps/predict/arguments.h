#pragma once
// What the command line asks for.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "apps/common/measure/predictions.h"

namespace sked {

struct PredictArguments {
  std::string checkpoint, list, json, csv, html, covariance, zero_shot, calibrated;
  std::vector<std::string> images;  // files and folders
  int64_t top = 5, rows = 10;
  std::optional<int64_t> samples;
  PredictionsWanted predictions;

  /// Is stdout for another program, which wants nothing else there?
  bool only_results() const { return json == "-" || csv == "-"; }
};

}  // namespace sked
