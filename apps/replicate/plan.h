#pragma once
// A plan: a grid of heads × settings × seeds over one base configuration.

#include <cstdint>
#include <string>
#include <vector>

#include "apps/common/config/config.h"

namespace sked {

/// What a plan leaves in its folder, beside a folder for each setting.
inline constexpr const char *kResults = "results.json", *kTable = "table.md", *kReport = "report.html";

/// A named variation of the base configuration.
struct Variation {
  std::string name;
  std::string changes = "{}";  // JSON text: {"key.path": value, …}
};

/// What a plan file says:
///
///   {"about": {…}, "base": {a run's configuration}, "settings": {"name": {"key.path": value, …}, …},
///    "heads": {"name": {"key.path": value, …}, …}, "seeds": [0, 1, 2], "ensembles": true, "study": {…}}
///
/// `base` may also be the name of a file with such a configuration, from the plan's folder on; its seed is not used.
/// `settings` may be left out: one setting, the base itself. The runs' seeds come from `seeds` alone. `ensembles`, by
/// default false, has the test images predicted once more by every run, for the seeds' average. `study` (study.h) says
/// what the plan is to show.
struct Plan {
  std::string path;          // of the file, for messages
  std::string title;         // about.title, or the file's name
  std::string about = "{}";  // the whole entry as JSON text
  RunConfig base;
  std::vector<Variation> settings, heads;
  std::vector<uint64_t> seeds;
  bool ensembles = false;
  std::string study = {};  // the entry as JSON text, for claims_of() (study.h); empty where there is none
};

/// One training run of a plan.
struct PlannedRun {
  size_t setting, head;  // indices into the plan
  uint64_t seed;
  RunConfig config;
  std::string folder;  // relative to the plan's own: `<setting>/<head>/seed-<n>`
};

/// Reads a plan; `overrides` are `--set` assignments on the base. Throws UsageError naming file and key.
Plan read_plan(const std::string& path, const std::vector<std::string>& overrides);

/// Every run, seeds outermost, so that a plan stopped early has whole comparisons. All configurations are validated
/// here, before hours are spent: throws UsageError naming the file, the entry and the key.
std::vector<PlannedRun> runs_of(const Plan& plan);

/// A name as a folder: letters of any script, digits, `.`, `-`; each other character, and each byte that is not UTF-8,
/// becomes `-`.
std::string folder_name(const std::string& name);

}  // namespace sked
