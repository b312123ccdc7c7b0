#include "apps/common/run/checkpoint.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <string_view>

#include "apps/common/run/metadata.h"
#include "apps/common/run/run_folder.h"
#include "autograd/state.h"
#include "core/error.h"
#include "core/file.h"
#include "core/file_kind.h"
#include "core/npz.h"
#include "core/text.h"

namespace sked {
namespace {

constexpr std::string_view kOptimizer = "optimizer.", kRaw = "raw.";
constexpr std::string_view kAverage = "average.";  // as WeightAverage names what it holds

/// Destinations share storage with the model's own tensors.
std::vector<SharedTensor> weights_of(const Module& model) {
  std::vector<SharedTensor> tensors;
  for (const NamedVar& p : model.parameters()) tensors.push_back({p.name, p.var.value(), detail::share_of(p)});
  for (const auto& [name, buffer] : model.buffers()) tensors.push_back({name, *buffer});
  return tensors;
}

/// Appends tensors whose names begin with `from` under names that begin with `prefix` instead.
void append(std::vector<SharedTensor>& tensors, std::string_view prefix, const std::vector<SharedTensor>& state,
            std::string_view from) {
  for (const SharedTensor& t : state)
    tensors.push_back({std::string(prefix) + t.name.substr(from.size()), t.tensor, t.share});
}

/// The way back.
std::vector<SharedTensor> with_prefix(const TensorFile& file, std::string_view prefix, std::string_view from) {
  std::vector<SharedTensor> state;
  for (const auto& [name, tensor] : file.tensors) {
    if (name.starts_with(prefix)) state.push_back({std::string(from) + name.substr(prefix.size()), tensor});
  }
  return state;
}

std::map<std::string, std::string> metadata(const RunIdentity& run, TrainerState state) {
  return {{"format", "pt"},
          {"config", config_text(run.config)},
          {"data", identity_text(run.data)},
          {"files", identity_text(run.files)},
          {"state", fields_line(fields_of(state))}};
}

/// Of an entry that every checkpoint has.
template <class Read>
auto read_required(const TensorFile& file, const std::string& path, const std::string& key, Read read) {
  require(file.metadata.contains(key), "checkpoint", path, ": no entry ", key,
          " in its metadata: not a checkpoint of this program");
  return *read_entry(file, path, key, read);
}

/// Good weights are never replaced by others that are of no use.
void save_finite(const std::string& path, const std::vector<SharedTensor>& tensors,
                 const std::map<std::string, std::string>& metadata, Communicator& ranks,
                 const std::function<void()>& before = {}) {
  const auto bad = [](const SharedTensor& t) { return !all_finite(t.tensor.to(Device::cpu)); };
  Tensor first =
      Tensor::full({1}, static_cast<double>(std::ranges::find_if(tensors, bad) - tensors.begin()) * -1, DType::i64);
  ranks.all_reduce(first, Reduction::max);
  const auto at = static_cast<size_t>(-first.data<int64_t>()[0]);
  if (at < tensors.size())
    detail::throw_error<DivergedError>("checkpoint", path, " is not written: ", tensors[at].name,
                                       " has values that are not finite");
  if (before && ranks.rank() == 0) before();
  save_safetensors(path, tensors, metadata, ranks);
}

void check_weights(const TensorFile& file, const std::string& path, const std::vector<SharedTensor>& wanted) {
  std::map<std::string_view, const Tensor*> found;
  for (const auto& [name, tensor] : file.tensors) found[name] = &tensor;
  std::vector<std::string> names;
  for (const SharedTensor& t : wanted) {
    const std::string& name = t.name;
    names.push_back(name);
    const auto at = found.find(name);
    require(at != found.end(), "checkpoint", path, ": expected a tensor ", name, " ", t.whole_shape(),
            ", got none of that name");
    const Tensor& got = *at->second;
    require(all_finite(got), "checkpoint", path, ": ", name, " has values that are not finite");
    require(got.shape() == t.whole_shape() && got.dtype() == t.tensor.dtype(), "checkpoint", path, ": ", name,
            " expected ", t.whole_shape(), " ", t.tensor.dtype(), ", got ", got.shape(), " ", got.dtype());
    found.erase(at);
  }
  for (const auto& [name, tensor] : found) {
    if (name.starts_with(kOptimizer) || name.starts_with(kRaw)) continue;
    fail("checkpoint", path, ": the model has no tensor ", name, did_you_mean(name, names));
  }
}

}  // namespace

void visit_fields(FieldList& fields, TrainerState& s) {
  fields("step", s.step);
  fields("evaluated_step", s.evaluated_step);
  fields("optimizer_steps", s.optimizer_steps);
  fields("metrics_bytes", s.metrics_bytes);
  fields("best_step", s.best_step);
  fields("best_nll", s.best_nll);
  fields("loss_sum", s.loss_sum);
  fields("loss_count", s.loss_count);
  fields("train_seconds", s.train_seconds);
  fields("wait_seconds", s.wait_seconds);
  fields("peak_memory_bytes", s.peak_memory_bytes);
  fields("threads", s.threads);
  fields("precision", s.precision);
}

void save_weights(const std::string& path, const Module& model, const RunIdentity& run, TrainerState state,
                  Communicator& ranks) {
  state.optimizer_steps = 0;  // its state is not here
  save_finite(path, weights_of(model), metadata(run, state), ranks);
}

void save_checkpoint(const std::string& path, const Trained& trained, const RunIdentity& run, TrainerState state,
                     const std::function<void()>& before) {
  const Optimizer::State optimizer = trained.optimizer->state();
  state.optimizer_steps = optimizer.steps;
  if (trained.average)
    trained.average->swap();  // the averages take the plain names, the raw weights the average's place
  std::vector<SharedTensor> tensors = weights_of(*trained.model);
  append(tensors, kOptimizer, optimizer.tensors, "");
  if (trained.average) append(tensors, kRaw, trained.average->state(), kAverage);
  try {
    save_finite(path, tensors, metadata(run, state), *trained.ranks, before);
  } catch (...) {
    if (trained.average) trained.average->swap();
    throw;
  }
  if (trained.average) trained.average->swap();
}

TensorFile load_weights(const std::string& path) {
  std::array<char, kKindBytes> begin{};
  const size_t count = InputFile(path).read_some(begin.data(), begin.size());
  return is_npz({begin.data(), count}) ? load_npz(path) : load_safetensors(path);
}

bool is_checkpoint(const TensorFile& file) {
  return file.metadata.contains("config") && file.metadata.contains("state");
}

RunConfig config_of(const TensorFile& file, const std::string& path) {
  return read_required(file, path, "config", [](const std::string& text, const std::string& source) {
    RunConfig config = parse_config(text, source);
    validate(config);
    return config;
  });
}

namespace {

Checkpoint checkpoint_of(TensorFile file, const std::string& path) {
  Checkpoint c{.path = path, .file = std::move(file), .config = {}, .data = {}, .files = {}, .state = {}};
  c.config = config_of(c.file, path);
  c.data = identity_of(c.file, path);
  c.files = files_of(c.file, path);
  c.state = read_required(c.file, path, "state", [](const std::string& text, const std::string& source) {
    TrainerState state;
    read_fields_text(text, fields_of(state), source);
    return state;
  });
  const TrainerState& s = c.state;
  require(
      s.step >= 0 && s.metrics_bytes >= 0 && s.evaluated_step <= s.step && s.best_step <= s.step && s.loss_count >= 0,
      "checkpoint", path, ": the state is not one a run can be in: step ", s.step, ", evaluated ", s.evaluated_step,
      ", best ", s.best_step, ", metrics ", s.metrics_bytes, " bytes");
  return c;
}

}  // namespace

Checkpoint read_checkpoint(const std::string& path) { return checkpoint_of(load_safetensors(path), path); }
Checkpoint read_checkpoint_header(const std::string& path) {
  return checkpoint_of(load_safetensors_header(path), path);
}

std::string what_is_unknown(const TensorFile& file, const std::string& path, const RunConfig& config) {
  if (file.checked && file.metadata.contains("data")) return "";
  std::string line =
      path +
      " was written by an earlier version: its class names, its images and whether it is damaged cannot be checked";
  const bool statistics =
      std::ranges::any_of(file.tensors, [](const auto& t) { return t.name.ends_with("running_var"); });
  if (config.train.ema_decay > 0 && statistics)
    line +=
        "; beside its averaged weights are the batch statistics of those that were not averaged, so it measures worse "
        "than it is";
  return line;
}

/// A folder below this one that holds weights of a run: of a plan's folder, or of one with several runs. Empty: none.
static std::string run_below(const std::string& given) {
  namespace fs = std::filesystem;
  constexpr int kDeepest = 3, kMost = 10000;  // <setting>/<head>/seed-<n>; entries looked at
  std::vector<std::string> runs;
  std::error_code error;
  int looked_at = 0;
  for (auto at = fs::recursive_directory_iterator(given, fs::directory_options::skip_permission_denied, error);
       !error && at != fs::recursive_directory_iterator() && ++looked_at < kMost; at.increment(error)) {
    if (at.depth() >= kDeepest) at.disable_recursion_pending();
    const RunFolder folder{at->path()};
    if (at->is_directory(error) && (fs::exists(folder.last(), error) || fs::exists(folder.best(), error)))
      runs.push_back(at->path().string());
  }
  return runs.empty() ? "" : *std::ranges::min_element(runs);
}

bool chooses_best(const TensorFile& file, const std::string& path) {
  const std::optional<DataIdentity> data = identity_of(file, path);
  return data ? data->validation.count > 0 && data->test.count > 0 : config_of(file, path).data.validation > 0;
}

std::string checkpoint_path(const std::string& given) {
  namespace fs = std::filesystem;
  const bool name_alone = !given.empty() && given.find_first_of("./") == std::string::npos;
  require(!name_alone || fs::exists(given), "checkpoint", given,
          ": no such file or folder (weights are read from files: none are fetched by a name)");
  if (!fs::is_directory(given)) return given;
  const RunFolder folder{given};
  const bool last = fs::exists(folder.last()), best = fs::exists(folder.best());
  if (!last && !best && !fs::exists(folder.metrics())) {
    const std::string below = run_below(given);
    fail("checkpoint", given, ": no last.safetensors there: not a run folder",
         below.empty() ? "" : ", but one with runs in it, the first " + below);
  }
  require(last || best, "checkpoint", given,
          ": a run without weights: it was stopped before its first checkpoint, or they were removed");
  const std::string one = last ? folder.last() : folder.best();
  const bool holds_out = chooses_best(load_safetensors_header(one), one);
  require(last || holds_out, "checkpoint", given,
          ": no last.safetensors there, and the best weights were chosen by the test images");
  return holds_out && best ? folder.best() : folder.last();
}

void restore_weights(const TensorFile& file, const std::string& path, const Module& model) {
  std::vector<SharedTensor> weights = weights_of(model);
  check_weights(file, path, weights);
  for (SharedTensor& t : weights) detail::copy_share({t.name, file.at(t.name)}, t);
}

void restore(const Checkpoint& checkpoint, const Trained& trained) {
  restore_weights(checkpoint.file, checkpoint.path, *trained.model);
  trained.optimizer->load_state({with_prefix(checkpoint.file, kOptimizer, ""), checkpoint.state.optimizer_steps});
  if (trained.average) {
    std::vector<SharedTensor> raw = with_prefix(checkpoint.file, kRaw, kAverage);
    // Older checkpoints kept only the raw weights' buffers, under plain names.
    for (const auto& [name, buffer] : trained.model->buffers()) {
      if (!checkpoint.file.contains(std::string(kRaw) + name))
        raw.push_back({std::string(kAverage) + name, checkpoint.file.at(name)});
    }
    trained.average->load_state(raw);
    trained.average->swap();
  }
}

}  // namespace sked
