#include "apps/replicate/diverged.h"

#include <limits>

#include "apps/common/run/resume.h"
#include "core/error.h"
#include "core/file.h"

namespace sked {
namespace {

std::string diverged_file(const PlannedRun& run, const std::filesystem::path& out) {
  return (out / run.folder / "diverged.json").string();
}

}  // namespace

void write_diverged(const PlannedRun& run, const std::filesystem::path& out, const std::string& why, double seconds) {
  write_file(diverged_file(run, out), json_text({{"error", why}, {"train_seconds", seconds}}));
}

void forget_diverged(const PlannedRun& run, const std::filesystem::path& out) {
  std::error_code gone;
  std::filesystem::remove(diverged_file(run, out), gone);
}

bool has_diverged(const PlannedRun& run, const std::filesystem::path& out) {
  return run.of_tuning && std::filesystem::exists(diverged_file(run, out));
}

FinishedRun diverged_run(const PlannedRun& run, const std::filesystem::path& out) {
  constexpr uint64_t kMostBytes = 1 << 20;
  const std::string path = diverged_file(run, out);
  const RunFolder folder{out / run.folder};
  if (std::filesystem::exists(folder.config())) check_same_configuration(folder, run.config, path);
  FinishedRun diverged{.plan = run, .summary = {}};
  diverged.summary.best_nll = std::numeric_limits<double>::infinity();
  try {
    diverged.summary.train_seconds = parse_json(read_file(path, kMostBytes), path).at("train_seconds").number();
  } catch (const Error& error) {
    fail("tuning", path, ": expected what a tuning run that diverged leaves: ", error.what());
  }
  return diverged;
}

}  // namespace sked
