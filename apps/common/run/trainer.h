#pragma once
// Trains one classifier: a configuration and a folder in, a finished run folder out.

#include <filesystem>
#include <string>

#include "apps/common/config/config.h"
#include "apps/common/measure/summary.h"

namespace sked {

class Trace;

struct TrainOptions {
  Device device = Device::cpu;
  bool graph = true;               // replay recorded steps where the device can (gradient_step.h)
  bool fresh = false;              // start over, whatever is in the folder
  bool quiet = false;              // no progress
  bool opening = false;            // what was loaded is said first, on stdout (opening.h)
  std::string label = {};          // starts every line of progress; default: the folder's name
  std::string command = {};        // goes to summary.json
  Communicator* ranks = &alone();  // that train it together, and all call train()
  Trace* trace = nullptr;          // looks at some of its steps
};

/// Runs `config` in the folder `out` (README.md there describes its files) and returns what summary.json holds.
///
/// A folder with last.safetensors of the same configuration goes on from there, bit-exactly on the CPU with the same
/// number of threads: the weights and metrics.jsonl (but for its timings, the keys `seconds`, `images_per_second` and
/// `loader`) end as if the run had never stopped. A finished run is returned as it is, or, where train.epochs or
/// train.steps is larger now, goes on: under a schedule that does not depend on its end the weights are those of a run
/// of that length. The periodic evaluations choose
/// best.safetensors by NLL on the validation images; only where none are held out they are made on the test images, and
/// then the final test measures the last weights, not the chosen ones.
///
/// Several ranks compute what one does, but for the order of sums: train.batch_size is that of all of them, and so is
/// what is in the folder, which rank 0 alone writes to and all of them read. A run goes on with any number of ranks.
///
/// Throws UsageError for a configuration that is wrong or not the folder's (naming the keys), BusyError where another
/// process writes to the folder, DivergedError for numbers that are not finite (the last checkpoint is then untouched),
/// Error for data that is not what its checkpoint was trained on (identity.h) and for everything else that fails (data,
/// disk), Interrupted on Ctrl-C to any rank, with a checkpoint written. Ranks that differ (another version,
/// configuration or data) are refused, naming what.
Summary train(const RunConfig& config, const std::filesystem::path& out, const TrainOptions& options = {});

}  // namespace sked
