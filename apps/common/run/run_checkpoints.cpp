#include "apps/common/run/run_checkpoints.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "core/text.h"

namespace sked {

void RunCheckpoints::resume(const TrainerState& state) {
  saved_step_ = state.step;
  saved_evaluation_ = state.evaluated_step;
  keep(state.step);
}

void RunCheckpoints::save_last(const Trained& trained, const TrainerState& state) {
  const auto keep_previous = [&] {
    if (state.step > saved_step_) folder_.keep_last_as(folder_.previous());
  };
  save_checkpoint(folder_.last(), trained, run_, state, keep_previous);
  resume(state);
}

namespace {

constexpr std::string_view kStep = "step-", kEnd = ".safetensors";

/// A file step-N.safetensors: N, and whether it is the checkpoint of step N.
struct KeptFile {
  int64_t step = 0;
  std::string path;
  bool own = false;
};

/// Those of a folder, in the order of their steps.
std::vector<KeptFile> kept_files(const RunFolder& folder) {
  std::vector<KeptFile> files;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder.path, error)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(kStep) || !name.ends_with(kEnd)) continue;
    KeptFile file{.path = entry.path().string()};
    const char* const first = name.data() + kStep.size();
    const char* const end = name.data() + name.size() - kEnd.size();
    if (first >= end || std::from_chars(first, end, file.step).ptr != end) continue;
    try {
      file.own = entry.is_regular_file(error) && read_checkpoint_header(file.path).state.step == file.step;
    } catch (const Error&) {  // somebody's own
    }
    files.push_back(file);
  }
  std::ranges::sort(files, {}, &KeptFile::step);
  return files;
}

void remove(const KeptFile& file) {
  std::error_code error;
  std::filesystem::remove(file.path, error);
  require(!error, "run", "cannot remove ", file.path, ": ", error.message());
}

}  // namespace

void RunCheckpoints::keep(int64_t step) const {
  const int64_t most = run_.config.train.keep_checkpoints;
  if (most == 0 || step == 0 || ranks_.rank() > 0) return;
  folder_.keep_last_as((folder_.path / (std::string(kStep) + std::to_string(step) + std::string(kEnd))).string());
  std::vector<KeptFile> files = kept_files(folder_);
  std::erase_if(files, [&](const KeptFile& f) { return !f.own || f.step > step; });
  for (int64_t i = 0; i < std::ssize(files) - most; ++i) remove(files[static_cast<size_t>(i)]);
}

void RunCheckpoints::check_kept() const {
  if (run_.config.train.keep_checkpoints == 0 || ranks_.rank() > 0) return;
  for (const KeptFile& file : kept_files(folder_))
    require(file.own, "run", file.path,
            " is no checkpoint of that step, and train.keep_checkpoints writes files of such names: nothing is touched "
            "(move it away, or choose another --out)");
}

void RunCheckpoints::clear_kept() const {
  if (ranks_.rank() > 0) return;
  for (const KeptFile& file : kept_files(folder_))
    if (file.own) remove(file);
}

void RunCheckpoints::save_best(const Module& model, const TrainerState& state) const {
  save_weights(folder_.best(), model, run_, state, ranks_);
}

void RunCheckpoints::restore_best(const Module& model) const {
  const std::string path = folder_.best();
  ranks_.barrier();  // rank 0 may still be writing it
  require(std::filesystem::exists(path), "train", path, " is not there any more: --fresh starts over");
  const TensorFile file = load_safetensors(path);
  const std::vector<std::string> keys = differing_but_length(config_of(file, path), run_.config);
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
  detail::throw_error<DivergedError>(
      "train", what,
      step == 0 ? ": before any update: its data, or how the network starts (model, head, train.init); "
                : ": a lower schedule.peak, more schedule.warmup_epochs or optimizer.clip_norm may help; ",
      there(folder_.last()) ? checkpoint : "no checkpoint was written yet");
}

}  // namespace sked
