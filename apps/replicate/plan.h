#pragma once
// A plan: a grid of heads × settings × seeds over one base configuration.

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "apps/common/config/config.h"
#include "core/json.h"

namespace sked {

/// What a plan leaves in its folder, beside a folder for each setting.
inline constexpr const char *kResults = "results.json", *kTable = "table.md", *kReport = "report.html";

/// A named variation of the base configuration.
struct Variation {
  std::string name;
  std::string changes = "{}";  // JSON text: {"key.path": value, …}
};

/// A key of the base that is tuned.
struct TunedKey {
  std::string key;
  Json::Array values;  // those tried, each once: numbers, texts, true or false
};

/// What a plan file says:
///
///   {"about": {…}, "base": {a run's configuration}, "settings": {"name": {"key.path": value, …}, …},
///    "heads": {"name": {"key.path": value, …}, …}, "seeds": [0, 1, 2], "ensembles": true, "calibrated": true,
///    "tuning": {"key.path": [value, …], …}, "tuning_seeds": [1000], "full": {"key.path": value, …},
///    "full_seeds": [0], "study": {…}}
///
/// `base` may also be the name of a file with such a configuration, from the plan's folder on; its seed is not used.
/// `settings` may be left out: one setting, the base itself. The runs' seeds come from `seeds` alone. `ensembles`, by
/// default false, has the test images predicted once more by every run, for the seeds' average; `calibrated` likewise,
/// with a temperature fitted to the held-out images. `tuning` is a grid of values for the base (tuning.h). `full` and
/// `full_seeds` are changes of the base, and other seeds, of the plan's full size. `study` (study.h) says what the plan
/// is to show.
struct Plan {
  std::string path;          // of the file, for messages
  std::string title;         // about.title, or the file's name
  std::string about = "{}";  // the whole entry as JSON text
  RunConfig base;
  std::vector<Variation> settings, heads;
  std::vector<uint64_t> seeds;
  bool ensembles = false, calibrated = false;
  std::vector<TunedKey> tuning;
  std::vector<uint64_t> tuning_seeds;
  bool full = false;
  std::string study = {};  // the entry as JSON text, for claims_of() (study.h); empty where there is none
};

/// One training run of a plan.
struct PlannedRun {
  size_t setting, head;  // indices into the plan
  uint64_t seed;
  RunConfig config;
  std::string folder;         // relative to the plan's own: `<setting>/<head>/seed-<n>`
  std::string values = "{}";  // JSON text: what the tuned keys are, {"key.path": value, …}
  bool of_tuning = false;     // one of those that decide on the values
  bool undecided = false;     // they do not have yet: `config` is that of the base
  /// `seed 3`, `tuning schedule.peak 0.01, seed 1000`
  std::string what() const;
};

/// Reads a plan, in its full size where `full`; `overrides` are `--set` assignments on the base, which take a key from
/// the tuned ones. Throws UsageError naming file and key.
Plan read_plan(const std::string& path, const std::vector<std::string>& overrides, bool full = false);

/// `<setting>/<head>`: where its runs are, within the plan's folder.
std::string cell_folder(const Plan& plan, size_t setting, size_t head);

/// Every run, seeds outermost, so that a plan stopped early has whole comparisons. All configurations are validated
/// here, before hours are spent: throws UsageError naming the file, the entry and the key.
std::vector<PlannedRun> runs_of(const Plan& plan);

/// The base with these values (JSON text), then the changes of a setting, then of a head; without a seed. Throws
/// UsageError as runs_of().
RunConfig varied(const Plan& plan, size_t setting, size_t head, const std::string& values = "{}");

/// Values of keys for people: `schedule.peak 0.01, optimizer.weight_decay 1`.
std::string values_text(const std::string& values);

/// The keys that changes of a configuration set, whether as `{"head.rank": 4}` or as `{"head": {"rank": 4}}`.
std::set<std::string> changed_keys(const Json& changes);

/// A name as a folder: letters of any script, digits, `.`, `-`; each other character, and each byte that is not UTF-8,
/// becomes `-`.
std::string folder_name(const std::string& name);

}  // namespace sked
