#include "apps/replicate/ensembles.h"

#include <cstdio>

#include "apps/common/config/progress.h"
#include "apps/common/run/ensemble.h"
#include "core/error.h"
#include "core/file.h"
#include "core/text.h"

namespace sked {
namespace {

constexpr uint64_t kMaxResultsBytes = uint64_t{1} << 30;

}  // namespace

SeedEnsembles::SeedEnsembles(const Plan& plan, const std::filesystem::path& out) : plan_(plan), out_(out) {
  const std::string path = (out / kResults).string();
  if (!plan.ensembles || !std::filesystem::exists(path)) return;
  try {
    const Json results = parse_json(read_file(path, kMaxResultsBytes), path);
    for (const Json& cell : results.at("cells").elements()) {
      const Json* ensemble = cell.find("ensemble");
      if (ensemble == nullptr) continue;
      known_.push_back({cell.at("setting").string(),
                        cell.at("head").string(),
                        cell.at("runs"),
                        {read_evaluation(ensemble->at("test"), path), ensemble->at("disagreement").number()}});
    }
  } catch (const Error&) {
    known_.clear();  // it is written anew
  }
}

void SeedEnsembles::recall(std::vector<Cell>& cells) const {
  for (Cell& cell : cells)
    for (const Known& known : known_)
      if (known.setting == plan_.settings[cell.setting].name && known.head == plan_.heads[cell.head].name &&
          known.runs == cell.runs_json())
        cell.ensemble = known.ensemble;
}

void SeedEnsembles::evaluate(std::vector<Cell>& cells, const CommonOptions& options,
                             const std::function<void()>& after_each) {
  if (!plan_.ensembles) return;
  CommonOptions common;  // without --config, which is the plan, and --set, which is in the runs' configurations
  common.device = options.device;
  common.data_root = options.data_root;
  for (Cell& cell : cells) {
    if (cell.ensemble || cell.runs.size() < 2) continue;
    const std::string label = plan_.settings[cell.setting].name + " · " + plan_.heads[cell.head].name;
    std::vector<std::string> folders;
    for (const FinishedRun& run : cell.runs) folders.push_back((out_ / run.plan.folder).string());
    try {
      const Ensemble ensemble = Ensemble::load(folders, "test", {}, common);
      const EnsembleEvaluation e = ensemble.evaluate(ensemble.images());
      cell.ensemble = {e.ensemble, e.disagreement};
      char measures[64];
      std::snprintf(measures, sizeof measures, ": nll %.4f  accuracy %.2f %%", e.ensemble.measures.nll,
                    100 * e.ensemble.measures.accuracy);
      inform(label + ", ensemble of " + std::to_string(folders.size()) + measures);
      after_each();
    } catch (const Error& error) {
      note("the ensemble of " + printable(label) + " is left out: " + error.what());
    }
  }
}

}  // namespace sked
