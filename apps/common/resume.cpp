#include "apps/common/resume.h"

#include "apps/common/progress.h"
#include "apps/common/task.h"
#include "core/error.h"
#include "core/precision.h"
#include "core/text.h"

namespace sked {

RunConfig resumed(RunConfig given, const RunConfig& then) {
  if (!given.train.init.empty()) given.model = filled_in(given.model, then.model);
  return given;
}

void check_same_run(const RunConfig& config, const RunConfig& then, const std::string& path) {
  const std::vector<std::string> keys = differing_keys(config, then);
  require_usage(keys.empty(), "train", path, " is of another configuration: ", join(keys),
                keys.size() == 1 ? " differs" : " differ", " (--fresh starts over, another --out keeps both)");
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

void check_same_data(const Checkpoint& checkpoint, const RunIdentity& run) {
  constexpr const char* kWayOut = " (--fresh starts over, another --out keeps both)";
  if (checkpoint.data) {
    const std::string changed = training_difference(*checkpoint.data, run.data);
    require(changed.empty(), "train", checkpoint.path, " was trained on other data: ", changed, kWayOut);
  } else {
    require(run.config.data.validation == 0 && run.config.data.train_subset == 0, "train", checkpoint.path,
            " was written by an earlier version, which chose held-out images and subsets in another way: this training "
            "cannot go on without seeing images it is judged on",
            kWayOut);
  }
}

}  // namespace sked
