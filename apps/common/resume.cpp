#include "apps/common/resume.h"

#include <omp.h>

#include <nlohmann/json.hpp>

#include "apps/common/progress.h"
#include "apps/common/task.h"
#include "core/error.h"
#include "core/file.h"
#include "core/precision.h"
#include "core/text.h"

namespace sked {

namespace {

constexpr const char* kWayOut = " (--fresh starts over, another --out keeps both)";

/// The configuration of a run that is there: what `given` leaves open and the file of train.init decided is as it was.
RunConfig resumed(RunConfig given, const RunConfig& then) {
  if (!given.train.init.empty()) given.model = filled_in(given.model, then.model);
  return given;
}

void check_same_run(const RunConfig& config, const RunConfig& then, const std::string& path) {
  const std::vector<std::string> keys = differing_keys(config, then);
  require_usage(keys.empty(), "train", path, " is of another configuration: ", join(keys),
                keys.size() == 1 ? " differs" : " differ", kWayOut);
}

/// Is this file the configuration of a run, of any version?
bool is_run_config(const std::string& path) {
  constexpr uint64_t kMostBytes = uint64_t{1} << 24;
  try {
    const auto json = parse_json(read_file(path, kMostBytes), path);
    return json.is_object() && json.contains("data") && json.contains("optimizer") && json.contains("train");
  } catch (const Error&) {
    return false;
  }
}

bool is_run_checkpoint(const std::string& path) {
  try {
    return is_checkpoint(load_safetensors(path));
  } catch (const Error&) {
    return false;
  }
}

}  // namespace

void check_own(const RunFolder& folder) {
  namespace fs = std::filesystem;
  std::error_code error;
  for (const std::string& file : folder.files())  // reading from a pipe would wait for ever
    require(!fs::exists(file, error) || fs::is_regular_file(file, error), "run", file, ": expected a regular file");
  if (!fs::is_directory(folder.path, error) || is_run_config(folder.config()) || is_run_checkpoint(folder.last()))
    return;
  for (const std::string& file : folder.files()) {
    if (fs::exists(fs::symlink_status(file, error)) && !(file == folder.metrics() && fs::file_size(file, error) == 0))
      fail("run", file, " is there, but ", folder.path.string(),
           " holds neither the configuration nor a checkpoint of a run: nothing in it is touched (move the file away, "
           "or choose another --out)");
  }
}

Found find_run(const RunFolder& folder, const RunConfig& given, bool fresh) {
  namespace fs = std::filesystem;
  check_own(folder);
  Found found{.config = given, .checkpoint = {}, .done = !fresh && fs::exists(folder.summary())};
  if (fresh) return found;
  if (fs::exists(folder.last())) {
    found.checkpoint = read_checkpoint(folder.last());
    const Checkpoint& c = *found.checkpoint;
    found.config = resumed(given, c.config);
    check_same_run(found.config, c.config, c.path);
    note(what_is_unknown(c.file, c.path, c.config));
  } else if (fs::exists(folder.config()) && (found.done || fs::exists(folder.best()))) {
    // Somebody kept the results and not the weights, or it was killed before its first checkpoint and begins again; in
    // both cases only a run of this configuration.
    const RunConfig then = read_config(folder.config());
    check_same_run(resumed(given, then), then, found.done ? folder.summary() : folder.config());
  }
  return found;
}

void check_same_training(const Checkpoint& checkpoint, const RunIdentity& run) {
  if (checkpoint.data) {
    const std::string changed = training_difference(*checkpoint.data, run.data);
    require(changed.empty(), "train", checkpoint.path, " was trained on other data: ", changed, kWayOut);
  } else {
    require(run.config.data.validation == 0 && run.config.data.train_subset == 0, "train", checkpoint.path,
            " was written by an earlier version, which chose held-out images and subsets in another way: this training "
            "cannot go on without seeing images it is judged on",
            kWayOut);
  }
  const TrainerState& then = checkpoint.state;
  const int threads = omp_get_max_threads();
  const auto count = [](int64_t n) { return std::to_string(n) + (n == 1 ? " thread" : " threads"); };
  if (then.threads > 0 && then.threads != threads)
    note(checkpoint.path + " was trained with " + count(then.threads) + " and goes on with " + count(threads) +
         ": its last bits may differ from those of a run that never stopped");
  const std::string precision = name(product_precision());
  if (!then.precision.empty() && then.precision != precision)
    note(checkpoint.path + " was trained in " + then.precision + " and goes on in " + precision);
}

Summary finished(const RunFolder& folder, const RunConfig& config, const Checkpoint* checkpoint) {
  const Summary summary = read_summary(folder.summary());
  const std::string run = folder.path.string() + " is finished";
  if (!summary.precision.empty() && summary.precision != name(product_precision()))
    note(run + ", computed in " + summary.precision + " (--fresh computes in " + name(product_precision()) + ")");
  DataIdentity now;
  try {
    now = identify(load_data(config));
  } catch (const Error&) {  // the data need not be there any more
    return summary;
  }
  DataIdentity then = now;
  if (checkpoint != nullptr && checkpoint->data)
    then = *checkpoint->data;
  else if (!summary.training_data.empty())
    then.train = {summary.training_images, summary.training_data};
  const std::string changed = training_difference(then, now);
  if (!changed.empty()) note(run + ", and its data has changed since: " + changed + " (--fresh trains on it)");
  return summary;
}

}  // namespace sked
