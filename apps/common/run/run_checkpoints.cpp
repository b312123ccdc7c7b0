#include "apps/common/run/run_checkpoints.h"

#include <filesystem>

#include "core/error.h"
#include "core/text.h"

namespace sked {

void RunCheckpoints::resume(const TrainerState& state) {
  saved_step_ = state.step;
  saved_evaluation_ = state.evaluated_step;
}

void RunCheckpoints::save_last(const Trained& trained, const TrainerState& state) {
  const auto keep_previous = [&] {
    if (state.step > saved_step_) folder_.keep_previous();
  };
  save_checkpoint(folder_.last(), trained, run_, state, keep_previous);
  resume(state);
}

void RunCheckpoints::save_best(const Module& model, const TrainerState& state) const {
  save_weights(folder_.best(), model, run_, state);
}

void RunCheckpoints::restore_best(const Module& model) const {
  const std::string path = folder_.best();
  require(std::filesystem::exists(path), "train", path, " is not there any more: --fresh starts over");
  const TensorFile file = load_safetensors(path);
  const std::vector<std::string> keys = differing_keys(config_of(file, path), run_.config);
  require(keys.empty() && identity_of(file, path) == run_.data, "train", path,
          " is not of this run: ", keys.empty() ? "its data differs" : join(keys) + " differs",
          " (--fresh starts over)");
  restore_weights(file, path, model);
}

void RunCheckpoints::diverged(const std::string& what, int64_t step) const {
  const auto there = [](const std::string& file) { return std::filesystem::exists(file); };
  const std::string checkpoint = "the last checkpoint is untouched: " + folder_.last() + " of step " +
                                 std::to_string(saved_step_) +
                                 (there(folder_.previous()) ? ", before it " + folder_.previous() : "");
  fail("train", what,
       step == 0 ? ": before any update: its data, or how the network starts (model, head, train.init); "
                 : ": a lower schedule.peak, more schedule.warmup_epochs or optimizer.clip_norm may help; ",
       there(folder_.last()) ? checkpoint : "no checkpoint was written yet");
}

}  // namespace sked
