#pragma once
// What plans with a study came to, read from their results.json alone.

#include <filesystem>
#include <string>
#include <vector>

#include "apps/replicate/plan.h"
#include "apps/replicate/results.h"
#include "apps/replicate/study.h"

namespace sked {

struct ShownImage {
  std::string picture;  // data URI
  std::string label, prediction;
  double noise = 0;
};

/// What the noise of a cell's first run looks like.
struct ShownNoise {
  std::vector<std::string> classes;  // K
  Tensor learned, known;             // f32 (K,K), undefined where there is none
  std::vector<ShownImage> images;
};

/// A cell's `noise`. Throws Error for what is none.
ShownNoise read_noise(const Json& json);

/// A cell's `calibrated`; `source` names it. Throws Error for what is none.
std::vector<CalibratedRun> read_calibrated(const Json& list, const std::string& source);

struct StudyCell {
  Cell cell;
  ShownNoise noise = {};
};

/// One plan's.
struct StudyResults {
  std::string file;          // results.json
  std::string command = {};  // about.command; empty where it says none
  Plan plan = {};            // its title, settings, heads and seeds; no base
  std::vector<Claim> claims = {};
  std::vector<StudyCell> cells = {};

  /// nullptr where it is not there (yet).
  const StudyCell* cell(const std::string& setting, const std::string& head) const;
};

/// Those of `folder`/results.json and `folder`/*/results.json that have a `study`, by path. Throws Error naming the
/// file that cannot be read or is damaged, and the folder where there is no study.
std::vector<StudyResults> read_studies(const std::filesystem::path& folder);

}  // namespace sked
