#pragma once
// What plans with a study came to, read from their results.json alone.

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "apps/replicate/plan.h"
#include "apps/replicate/results.h"
#include "apps/replicate/study.h"

namespace sked {

/// A point of the grid that was tried before the runs.
struct TriedValues {
  std::string values;  // `schedule.peak 0.01, optimizer.weight_decay 1`
  double held_out_nll = 0, train_seconds = 0;
  bool chosen = false;
};

/// A run measured again with one temperature fitted on held-out data.
struct TemperedRun {
  uint64_t seed = 0;
  double temperature = 0;
  Evaluation test;
};

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

struct StudyCell {
  Cell cell;
  std::vector<TriedValues> tuning = {};
  std::vector<TemperedRun> tempered = {};
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
