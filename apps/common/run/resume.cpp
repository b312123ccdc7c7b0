#include "apps/common/run/resume.h"

#include <omp.h>

#include <sstream>

#include "apps/common/config/progress.h"
#include "apps/common/run/task.h"
#include "core/error.h"
#include "core/file.h"
#include "core/precision.h"
#include "core/text.h"

namespace sked {

namespace {

namespace fs = std::filesystem;

constexpr const char* kWayOut = " (--fresh starts over, another --out keeps both)";

/// The configuration of a run that is there: what `given` leaves open and the file of train.init decided is as it was.
RunConfig resumed(RunConfig given, const RunConfig& then) {
  if (!given.train.init.empty()) given.model = filled_in(given.model, then.model);
  return given;
}

void check_same(const std::vector<std::string>& keys, const std::string& path) {
  require_usage(keys.empty(), "train", path, " is of another configuration: ", join(keys),
                keys.size() == 1 ? " differs" : " differ", kWayOut);
}

/// Is there more to train than a finished run has done? Where one counts epochs and the other steps its data tell.
bool goes_on(const RunConfig& config, const RunConfig& then, const std::string& path) {
  const TrainConfig &now = config.train, &before = then.train;
  if (now.steps == before.steps && (now.steps > 0 || now.epochs == before.epochs)) return false;
  const auto check = [&](const char* key, auto length, auto done) {
    require_usage(length >= done, "train", path, " is of a finished run of ", key, " ", done,
                  ": expected at least that, got ", length, kWayOut);
  };
  if (now.steps > 0 && before.steps > 0) check("train.steps", now.steps, before.steps);
  if (now.steps == 0 && before.steps == 0) check("train.epochs", now.epochs, before.epochs);
  return true;
}

/// Was a network of this folder evaluated? Its metrics say so.
bool was_evaluated(const RunFolder& folder) {
  if (fs::exists(folder.best())) return true;
  if (!fs::exists(folder.metrics())) return false;
  constexpr uint64_t kMostBytes = uint64_t{1} << 32;
  std::istringstream lines(read_file(folder.metrics(), kMostBytes));
  for (std::string line; std::getline(lines, line);) {
    try {
      const Json record = parse_json(line, folder.metrics());
      const Json* split = record.is_object() ? record.find("split") : nullptr;
      if (split && split->is_string() && split->string() != "train") return true;
    } catch (const Error&) {  // half a line of a process that was killed
    }
  }
  return false;
}

/// Is this file the configuration of a run, of any version?
bool is_run_config(const std::string& path) {
  constexpr uint64_t kMostBytes = uint64_t{1} << 24;
  try {
    return has_keys(read_file(path, kMostBytes), {"data", "optimizer", "train"}, path);
  } catch (const Error&) {
    return false;
  }
}

/// Is it as a run writes it, with every key? Alone in a folder it may be what somebody wrote for --config.
bool is_as_written(const std::string& path) {
  try {
    const RunConfig config = read_config(path);
    return read_file(path, config_text(config).size()) == config_text(config);
  } catch (const Error&) {
    return false;
  }
}

bool is_run_checkpoint(const std::string& path) {
  try {
    return is_checkpoint(load_safetensors_header(path));
  } catch (const Error&) {
    return false;
  }
}

}  // namespace

void check_own(const RunFolder& folder) {
  std::error_code error;
  std::vector<std::string> there;
  for (const std::string& file : folder.files()) {  // reading from a pipe would wait for ever
    require(!fs::exists(file, error) || fs::is_regular_file(file, error), "run", file, ": expected a regular file");
    if (fs::exists(fs::symlink_status(file, error)) && !(file == folder.metrics() && fs::file_size(file, error) == 0))
      there.push_back(file);
  }
  if (there.empty() || is_run_checkpoint(folder.last())) return;
  if (is_run_config(folder.config()) && (there.size() > 1 || is_as_written(folder.config()))) return;
  fail(
      "run", there.front(), " is there, but ", folder.path.string(),
      " holds neither the configuration nor a checkpoint of a run that began there: nothing in it is touched (move the "
      "file away, or choose another --out)");
}

RunConfig check_same_configuration(const RunFolder& folder, const RunConfig& given, const std::string& path) {
  const RunConfig then = read_config(folder.config());
  check_same(differing_but_length(resumed(given, then), then), path);
  return then;
}

namespace {

Found find(const RunFolder& folder, const RunConfig& given, bool fresh, Checkpoint (*read)(const std::string&)) {
  check_own(folder);
  Found found{.config = given, .checkpoint = {}, .done = !fresh && fs::exists(folder.summary())};
  if (fresh) return found;
  if (fs::exists(folder.last())) {
    try {
      found.checkpoint = read(folder.last());
    } catch (const Error& error) {
      require(!fs::exists(folder.previous()), "run", error.what(), "; ", folder.previous(),
              " is the checkpoint before it: under the name of the last one the run goes on from it");
      throw;
    }
    const Checkpoint& c = *found.checkpoint;
    found.config = resumed(given, c.config);
    check_same(differing_but_length(found.config, c.config), c.path);
    found.done = found.done && !goes_on(found.config, c.config, c.path);
  } else if (fs::exists(folder.previous()) && !found.done) {
    fail("run", folder.previous(), " is there and last.safetensors is not: under that name the run goes on from it",
         kWayOut);
  } else if (found.done && fs::exists(folder.config())) {
    // Somebody kept the results and not the weights: of a run of this configuration.
    const RunConfig then = check_same_configuration(folder, given, folder.summary());
    require(!goes_on(given, then, folder.summary()), "run", folder.last(),
            " is gone, which this finished run would go on longer from", kWayOut);
  } else if (!found.done && was_evaluated(folder)) {
    // Before its first evaluation a run has a checkpoint.
    fail("run", folder.path.string(), " holds a run's results (",
         fs::exists(folder.best()) ? "best.safetensors" : "metrics.jsonl",
         ") and not its last.safetensors, which it would go on from", kWayOut);
  }
  return found;
}

}  // namespace

Found find_run(const RunFolder& folder, const RunConfig& given, bool fresh) {
  Found found = find(folder, given, fresh, read_checkpoint);
  if (found.checkpoint) note(what_is_unknown(found.checkpoint->file, found.checkpoint->path, found.checkpoint->config));
  return found;
}

Found check_run(const RunFolder& folder, const RunConfig& given, bool fresh) {
  return find(folder, given, fresh, read_checkpoint_header);
}

RunIdentity identify(const RunConfig& config, const Splits& splits) {
  std::map<std::string, std::string> files;
  try {
    files["train.init"] = checkpoint_path(config.train.init);
  } catch (const Error&) {  // a run without weights by now
  }
  if (config.task == TaskKind::contrastive) {
    const std::string& templates = config.captions.templates;
    if (templates != "plain" && templates != "photo") files["captions.templates"] = templates;
    files["captions.classes"] = config.captions.classes;
    files["text.vocabulary"] = config.text.vocabulary;
  }
  return {config, identify(splits), identify_files(files)};
}

void check_same_training(const Checkpoint& checkpoint, RunIdentity& run) {
  if (checkpoint.data) {
    const std::string changed = data_difference(*checkpoint.data, run.data);
    require(changed.empty(), "train", checkpoint.path, " was trained on other data: ", changed, kWayOut);
  } else {
    require(run.config.data.validation == 0 && run.config.data.train_subset == 0, "train", checkpoint.path,
            " was written by an earlier version, which chose held-out images and subsets in another way: this training "
            "cannot go on without seeing images it is evaluated on",
            kWayOut);
  }
  for (const auto& [key, fingerprint] : run.files) {
    const auto known = checkpoint.files.find(key);
    require(known == checkpoint.files.end() || known->second == fingerprint, "train", checkpoint.path, ": ", key,
            " is another file than the one it was trained with", kWayOut);
  }
  run.files.insert(checkpoint.files.begin(), checkpoint.files.end());
  const TrainerState& then = checkpoint.state;
  const int threads = omp_get_max_threads();
  const auto count = [](int64_t n) { return std::to_string(n) + (n == 1 ? " thread" : " threads"); };
  if (then.threads > 0 && then.threads != threads)
    note(checkpoint.path + " was trained with " + count(then.threads) + " and goes on with " + count(threads) +
         ": it may drift apart from a run that never stopped");
  const std::string precision = name(product_precision());
  if (!then.precision.empty() && then.precision != precision)
    note(checkpoint.path + " was trained in " + then.precision + " and goes on in " + precision);
}

Summary finished(const RunFolder& folder, const RunConfig& config, const Checkpoint* checkpoint) {
  const Summary summary = read_summary(folder.summary());
  const std::string run = folder.path.string() + " is finished";
  if (checkpoint == nullptr)
    note(run + ", and its " + (fs::exists(folder.best()) ? "last checkpoint is" : "checkpoints are") +
         " gone: these are the results it left" + kWayOut);
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
  const std::string changed = data_difference(then, now);
  if (!changed.empty()) note(run + ", and its data has changed since: " + changed + " (--fresh trains on it)");
  return summary;
}

}  // namespace sked
